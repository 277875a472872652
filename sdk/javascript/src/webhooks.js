/** Whether a webhook delivery comes from the service. */

const TOLERANCE_S = 300;
const encoder = new TextEncoder();

/** Checks X-EmotionChat-Signature: HMAC-SHA256 of the raw body, in hexadecimal. */
export function verifyWebhook(payload, signature, secret) {
  return verify(bytes(payload), signature, secret);
}

/**
 * Checks X-AffectMesh-Signature, "t=UNIX_TIME,v1=HEX", and refuses what is too old.
 * The signature is of the time, a point and the raw body.
 */
export async function verifyTimestamped(
  payload,
  signature,
  secret,
  { toleranceS = TOLERANCE_S, now = () => Date.now() / 1000 } = {},
) {
  const parts = Object.fromEntries(
    String(signature)
      .split(',')
      .map((part) => part.trim().split('=', 2)),
  );
  const sent = parts.t ?? '';
  if (!/^\d+$/.test(sent) || Math.abs(now() - Number(sent)) > toleranceS) return false;
  const body = bytes(payload);
  const head = encoder.encode(`${sent}.`);
  const content = new Uint8Array(head.length + body.length);
  content.set(head);
  content.set(body, head.length);
  return verify(content, parts.v1 ?? '', secret);
}

async function verify(content, signature, secret) {
  if (!/^[0-9a-f]{64}$/i.test(signature)) return false;
  const algorithm = { name: 'HMAC', hash: 'SHA-256' };
  const key = await crypto.subtle.importKey('raw', encoder.encode(secret), algorithm, false, [
    'verify',
  ]);
  const given = Uint8Array.from(signature.match(/../g), (pair) => parseInt(pair, 16));
  return crypto.subtle.verify('HMAC', key, given, content);
}

function bytes(payload) {
  return typeof payload === 'string' ? encoder.encode(payload) : new Uint8Array(payload);
}
