/** Compiles where the types fit the documented use. */

import { EmotionChat, EmotionChatError, verifyWebhook, type Recording } from '../src/index.js';

const client = new EmotionChat({ apiKey: 'ek_live_your_api_key' });

export async function score(path: string): Promise<number | null> {
  const result: Recording = await client.analyze(path, { depth: 'advanced', metadata: { a: 1 } });
  for await (const one of client.recordings.all({ status: 'failed' })) console.log(one.recordingId);
  const genuine: boolean = await verifyWebhook('{}', 'aa', 'secret');
  return genuine ? result.honestyScore : null;
}

export async function refused(): Promise<number | undefined> {
  try {
    // @ts-expect-error: there is no such depth
    await client.analyze('a.mp4', { depth: 'deep' });
  } catch (error) {
    if (error instanceof EmotionChatError) return error.retryAfter;
  }
  return undefined;
}
