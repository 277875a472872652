/** The client with a running mesh: EMOTIONCHAT_URL, EMOTIONCHAT_KEY and EMOTIONCHAT_VIDEO name it. */

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { before, test } from 'node:test';

import { AnalysisFailed, EmotionChat, verifyTimestamped, verifyWebhook } from '../src/index.js';

const { EMOTIONCHAT_URL: baseUrl, EMOTIONCHAT_KEY: apiKey, EMOTIONCHAT_VIDEO: video } = process.env;
const client = new EmotionChat({ apiKey, baseUrl });

/** A server on loopback that gives these answers in turn, and keeps what it was sent. */
async function scripted(...answers) {
  const requests = [];
  const server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    requests.push({ headers: request.headers, body: Buffer.concat(chunks) });
    const [status, body, headers] = answers.shift() ?? [200, {}];
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(JSON.stringify(body));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${server.address().port}`;
  return { url, requests, close: () => server.close() };
}

let recording;
before(async () => {
  recording = await client.analyze(video, { metadata: { first_name: 'John' } });
});

test('a video is analysed', () => {
  assert.equal(recording.status, 'completed');
  assert.equal(recording.honestyScore, recording.overallHonestyScore);
  assert.ok(Object.keys(recording.emotionBreakdown).length > 0);
  assert.deepEqual(recording.metadata, { first_name: 'John' });
});

test('recordings are listed, read, exported and deleted', async () => {
  const later = await client.analyze(new Blob([await readFile(video)]), { wait: false });
  const done = await client.recordings.wait(later.recordingId);
  assert.equal(done.status, 'completed');
  const page = await client.recordings.list({ perPage: 1 });
  assert.equal(page.recordings[0].recordingId, later.recordingId);
  const ids = [];
  for await (const one of client.recordings.all({ status: 'completed' })) ids.push(one.recordingId);
  assert.ok(ids.includes(recording.recordingId));
  const csv = await (await client.recordings.export(later.recordingId, 'csv')).text();
  assert.ok(csv.split('\n').length > 2);
  const receipt = await client.recordings.delete(later.recordingId);
  assert.ok(receipt.sha256.length > 0);
  await assert.rejects(client.recordings.get(later.recordingId), { status: 404 });
});

test('the usage is told', async () => {
  const usage = await client.usage();
  assert.match(usage.month, /^\d{4}-\d{2}$/);
  assert.ok(usage.rateLimit.limit > 0);
});

test('webhooks are told, and their signatures verified', async () => {
  const receiver = await scripted();
  const made = await client.webhooks.create({ url: receiver.url, events: ['analysis.completed'] });
  await client.webhooks.test(made.webhookId);
  while (receiver.requests.length === 0) await new Promise((next) => setTimeout(next, 20));
  const { headers, body } = receiver.requests[0];
  assert.ok(await verifyWebhook(body, headers['x-emotionchat-signature'], made.secret));
  const parsed = JSON.stringify(JSON.parse(body));
  assert.ok(await verifyWebhook(parsed, headers['x-emotionchat-signature'], made.secret));
  assert.ok(!(await verifyWebhook(body, headers['x-emotionchat-signature'], 'another')));
  assert.ok(!(await verifyWebhook(body, 'nonsense', made.secret)));
  const timestamped = headers['x-affectmesh-signature'];
  assert.ok(await verifyTimestamped(body, timestamped, made.secret));
  const now = () => Date.now() / 1000 + 3600;
  assert.ok(!(await verifyTimestamped(body, timestamped, made.secret, { now })));
  assert.equal((await client.webhooks.deliveries(made.webhookId)).length, 1);
  const changed = await client.webhooks.update(made.webhookId, { enabled: false });
  assert.equal(changed.enabled, false);
  assert.notEqual((await client.webhooks.rotate(made.webhookId)).secret, made.secret);
  await client.webhooks.delete(made.webhookId);
  const left = (await client.webhooks.list()).map((one) => one.webhookId);
  assert.ok(!left.includes(made.webhookId));
  receiver.close();
});

test('what is refused says why', async () => {
  await assert.rejects(client.analyze(new TextEncoder().encode('no video'.repeat(50))), {
    status: 422,
    code: 'INVALID_VIDEO_FORMAT',
  });
  const stranger = new EmotionChat({ apiKey: 'ek_live_wrong', baseUrl });
  await assert.rejects(stranger.usage(), { status: 401 });
});

test('a passing refusal is tried again, with the same key', async () => {
  const server = await scripted(
    [429, { error: 'Rate limit exceeded', retry_after: 0 }, { 'retry-after': '0' }],
    [502, { error: 'gone' }],
    [200, { recording_id: 'rec_1', status: 'completed', overall_honesty_score: 78.5 }],
  );
  const patient = new EmotionChat({ apiKey, baseUrl: server.url });
  const found = await patient.analyze(new Uint8Array(1000));
  assert.equal(found.honestyScore, 78.5);
  const keys = new Set(server.requests.map((one) => one.headers['idempotency-key']));
  assert.equal(server.requests.length, 3);
  assert.equal(keys.size, 1);
  server.close();
});

test('what may have been done is not done twice', async () => {
  const server = await scripted([502, { error: 'gone' }]);
  const patient = new EmotionChat({ apiKey, baseUrl: server.url });
  await assert.rejects(patient.webhooks.create({ url: 'https://example.com' }), { status: 502 });
  assert.equal(server.requests.length, 1);
  server.close();
});

test('a failed analysis says why', async () => {
  const failed = { recording_id: 'r', status: 'failed', error: { code: 'X', message: 'Bad' } };
  const server = await scripted([200, { recording_id: 'r', status: 'processing' }], [200, failed]);
  const patient = new EmotionChat({ apiKey, baseUrl: server.url });
  await assert.rejects(patient.analyze(new Uint8Array(10)), (error) => {
    assert.ok(error instanceof AnalysisFailed);
    return error.message === 'Bad' && error.code === 'X';
  });
  server.close();
});

test('signatures are those of the document', async () => {
  const signature = createHmac('sha256', 'whsec').update('{"a":1}').digest('hex');
  assert.ok(await verifyWebhook('{"a":1}', signature, 'whsec'));
});

test('an analysis can be given up', async () => {
  const server = await scripted([503, {}, { 'retry-after': '30' }]);
  const patient = new EmotionChat({ apiKey, baseUrl: server.url });
  await assert.rejects(patient.analyze(new Uint8Array(10), { signal: AbortSignal.timeout(200) }));
  server.close();
});

