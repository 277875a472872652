import { AnalysisFailed, EmotionChatError } from './errors.js';
import { camelCased } from './naming.js';

/** Statuses of what was not carried out, and of what may have been; 0 where no answer came. */
const REFUSED = new Set([429, 503]);
const TRANSIENT = new Set([0, 502, 504]);
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 60_000;
const LONGEST_POLL_MS = 10_000;
const LONGEST_ANALYSIS_MS = 3_600_000;

/** Client of one server. */
export class EmotionChat {
  #apiKey;
  #baseUrl;
  #maxRetries;
  #timeoutMs;
  #fetch;

  constructor({
    apiKey,
    baseUrl = 'http://127.0.0.1:8080',
    maxRetries = 3,
    timeoutMs = 60_000,
    fetch = globalThis.fetch,
  }) {
    if (!apiKey) throw new TypeError('apiKey is missing.');
    this.#apiKey = apiKey;
    this.#baseUrl = baseUrl.replace(/\/+$/, '');
    this.#maxRetries = maxRetries;
    this.#timeoutMs = timeoutMs;
    this.#fetch = fetch;
    this.recordings = new Recordings(this);
    this.webhooks = new Webhooks(this);
  }

  /** Analyses a video: a path (Node), a Blob or File, or bytes. */
  async analyze(
    video,
    {
      metadata,
      depth = 'basic',
      language,
      wait = true,
      timeoutMs = LONGEST_ANALYSIS_MS,
      signal,
    } = {},
  ) {
    const until = Date.now() + timeoutMs;
    const [file, name] = await opened(video);
    const form = new FormData();
    form.append('depth', depth);
    if (metadata !== undefined) form.append('metadata', JSON.stringify(metadata));
    if (language !== undefined) form.append('language', language);
    form.append('video', file, name);
    const response = await this.send('POST', '/api/v1/analyze', {
      body: form,
      headers: { 'Idempotency-Key': crypto.randomUUID(), Prefer: 'respond-async' },
      timeoutMs,
      signal,
    });
    const recording = recordingOf(await response.json());
    if (!wait || recording.status === 'completed') return recording;
    return this.recordings.wait(recording.recordingId, { timeoutMs: until - Date.now(), signal });
  }

  /** The current month. */
  async usage() {
    return this.json('GET', '/api/v1/usage');
  }

  /** @internal The answer to a request, with its names in camel case. */
  async json(method, path, options) {
    const response = await this.send(method, path, options);
    return camelCased(await response.json());
  }

  /** @internal The answer to a request, tried again where that may help. */
  async send(method, path, { query, json, body, headers, timeoutMs, signal } = {}) {
    const url = new URL(this.#baseUrl + path);
    for (const [name, value] of Object.entries(query ?? {}))
      if (value !== undefined) url.searchParams.set(name, value);
    for (let tries = 1; ; tries++) {
      const limit = AbortSignal.timeout(timeoutMs ?? this.#timeoutMs);
      let failure;
      let retryAfter;
      try {
        const response = await this.#fetch(url, {
          method,
          body: json === undefined ? body : JSON.stringify(json),
          headers: {
            Authorization: `Bearer ${this.#apiKey}`,
            ...(json === undefined ? {} : { 'Content-Type': 'application/json' }),
            ...headers,
          },
          signal: signal ? AbortSignal.any([signal, limit]) : limit,
        });
        if (response.ok) return response;
        retryAfter = response.headers.get('retry-after');
        failure = await EmotionChatError.of(response);
      } catch (error) {
        if (signal?.aborted) throw error;
        failure = new EmotionChatError(`No answer came: ${error.message}`, { cause: error });
      }
      const repeatable = method !== 'POST' || headers?.['Idempotency-Key'] !== undefined;
      const passing =
        REFUSED.has(failure.status) || (repeatable && TRANSIENT.has(failure.status));
      const waitMs = passing ? this.#waitMs(tries, retryAfter) : undefined;
      if (waitMs === undefined) throw failure;
      await pause(waitMs, signal);
    }
  }

  /** Full jitter over a wait that doubles; undefined to give up. */
  #waitMs(tries, retryAfter) {
    if (tries > this.#maxRetries) return undefined;
    if (/^\d+$/.test(retryAfter ?? '')) {
      const asked = Number(retryAfter) * 1000;
      return asked <= LONGEST_WAIT_MS ? asked : undefined;
    }
    return Math.random() * Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (tries - 1));
  }
}

class Recordings {
  #client;

  constructor(client) {
    this.#client = client;
  }

  /** A page, newest first. */
  async list({ page = 1, perPage = 20, status = 'all' } = {}) {
    const query = { page, per_page: perPage, status };
    const found = await this.#client.json('GET', '/api/v1/recordings', { query });
    return { ...found, recordings: found.recordings.map(scored) };
  }

  /** Every recording, newest first. */
  async *all({ status = 'all' } = {}) {
    for (let page = 1; ; page++) {
      const { recordings } = await this.list({ page, perPage: 100, status });
      if (recordings.length === 0) return;
      yield* recordings;
    }
  }

  /** One recording with all that is known of it. */
  async get(recordingId, { signal } = {}) {
    return scored(await this.#client.json('GET', pathOf('recordings', recordingId), { signal }));
  }

  /** One recording, once it is analysed. */
  async wait(recordingId, { timeoutMs = LONGEST_ANALYSIS_MS, signal } = {}) {
    const until = Date.now() + timeoutMs;
    for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(LONGEST_POLL_MS, waitMs * 1.5)) {
      const recording = await this.get(recordingId, { signal });
      if (recording.status === 'completed') return recording;
      if (recording.status === 'failed') {
        const { code, message } = recording.error ?? {};
        const details = { recording_id: recordingId };
        throw new AnalysisFailed(message ?? 'The analysis failed.', { code, details });
      }
      if (Date.now() + waitMs > until)
        throw new EmotionChatError(`${recordingId} is still processing.`, { code: 'TIMEOUT' });
      await pause(waitMs, signal);
    }
  }

  /** The analysis in a form for other programs, as a Blob. */
  async export(recordingId, format = 'json') {
    const path = `${pathOf('recordings', recordingId)}/export`;
    return (await this.#client.send('GET', path, { query: { format } })).blob();
  }

  /** Deletes a recording with all that was made of it; gives the receipt. */
  async delete(recordingId) {
    return this.#client.json('DELETE', pathOf('recordings', recordingId));
  }
}

class Webhooks {
  #client;

  constructor(client) {
    this.#client = client;
  }

  /** Registers an address; the secret is shown this once. */
  async create({ url, events, secret }) {
    return this.#client.json('POST', '/api/v1/webhooks', { json: { url, events, secret } });
  }

  /** Every webhook, oldest first. */
  async list() {
    return this.#listed('/api/v1/webhooks', 'webhooks');
  }

  /** Changes what is given. */
  async update(webhookId, { url, events, enabled }) {
    const json = { url, events, enabled };
    return this.#client.json('PATCH', pathOf('webhooks', webhookId), { json });
  }

  /** Deletes a webhook. */
  async delete(webhookId) {
    await this.#client.json('DELETE', pathOf('webhooks', webhookId));
  }

  /** Sends a test event. */
  async test(webhookId) {
    return this.#client.json('POST', `${pathOf('webhooks', webhookId)}/test`);
  }

  /** Replaces the secret; the new one is shown this once. */
  async rotate(webhookId) {
    return this.#client.json('POST', `${pathOf('webhooks', webhookId)}/rotate`);
  }

  /** What was sent, newest first. */
  async deliveries(webhookId) {
    return this.#listed(`${pathOf('webhooks', webhookId)}/deliveries`, 'deliveries');
  }

  /** Sends a past delivery again. */
  async redeliver(webhookId, deliveryId) {
    const path = `${pathOf('webhooks', webhookId)}/deliveries/${encodeURIComponent(deliveryId)}`;
    return this.#client.json('POST', `${path}/redeliver`);
  }

  async #listed(path, name) {
    const found = [];
    let token;
    do {
      const query = { page_size: 100, page_token: token };
      const page = await this.#client.json('GET', path, { query });
      found.push(...page[name]);
      token = page.nextPageToken || undefined;
    } while (token);
    return found;
  }
}

function pathOf(kind, id) {
  return `/api/v1/${kind}/${encodeURIComponent(id)}`;
}

function recordingOf(answer) {
  return scored(camelCased(answer));
}

function scored(recording) {
  return { ...recording, honestyScore: recording.overallHonestyScore };
}

async function opened(video) {
  if (typeof video === 'string') {
    const { openAsBlob } = await import('node:fs');
    return [await openAsBlob(video), video.split(/[\\/]/).at(-1)];
  }
  if (video instanceof Blob) return [video, video.name ?? 'video'];
  return [new Blob([video]), 'video'];
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, ms);
    if (signal?.aborted) stop();
    else signal?.addEventListener('abort', stop, { once: true });
  });
}
