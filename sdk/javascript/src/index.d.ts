export type Status = 'completed' | 'processing' | 'failed';
export type Depth = 'basic' | 'advanced';
export type Format = 'json' | 'csv' | 'emotionml';
export type Event =
  | 'analysis.completed'
  | 'analysis.failed'
  | 'usage.threshold'
  | (string & {});
/** A path works in Node only. */
export type Video = string | Blob | ArrayBuffer | ArrayBufferView;

export interface KeyMoment {
  timestampMs: number;
  type: string;
  score: number;
  [name: string]: unknown;
}

export interface Recording {
  recordingId: string;
  status: Status;
  durationMinutes: number | null;
  /** Behavioural consistency, 0 to 100; null where it was not measured. */
  overallHonestyScore: number | null;
  honestyScore: number | null;
  /** Shares that sum to 1. */
  emotionBreakdown: Record<string, number>;
  keyMoments: KeyMoment[];
  costUsd: number | null;
  quotedCostUsd: number | null;
  depth: Depth;
  progress: number;
  fileName?: string | null;
  metadata?: Record<string, unknown>;
  createdAt?: string;
  completedAt?: string | null;
  expiresAt?: string | null;
  error?: { code: string; message: string } | null;
  /** Of a recording asked for by its id: timeline, transcript, body language and more. */
  [name: string]: unknown;
}

export interface Page {
  recordings: Recording[];
  page: number;
  perPage: number;
  total: number;
  totalPages: number;
}

export interface Deletion {
  recordingId: string;
  status: 'deleted';
  deletedAt: string;
  receiptId: string;
  sha256: string[];
}

export interface Usage {
  /** Such as "2025-01". */
  month: string;
  totalAnalyses: number;
  totalMinutesAnalyzed: number;
  totalCostUsd: number;
  rateLimit: { limit: number; remaining: number; reset: number };
}

export interface Webhook {
  webhookId: string;
  url: string;
  events: Event[];
  /** At creation and rotation only. */
  secret?: string;
  enabled: boolean;
  createdAt: string;
}

export interface Delivery {
  deliveryId: string;
  webhookId: string;
  event: Event;
  payload: string;
  attempts: number;
  lastStatus: number | null;
  lastError: string | null;
  delivered: boolean;
  createdAt: string;
  nextAttemptAt: string | null;
}

export interface Options {
  apiKey: string;
  /** Default: http://127.0.0.1:8080 */
  baseUrl?: string;
  /** Further tries of a request. Default: 3 */
  maxRetries?: number;
  /** Of a request. Default: 60,000 */
  timeoutMs?: number;
  fetch?: typeof fetch;
}

export interface AnalyzeOptions {
  metadata?: Record<string, unknown>;
  depth?: Depth;
  /** BCP 47 tag. Default: detected. */
  language?: string;
  /** Whether to wait for the result. Default: true */
  wait?: boolean;
  timeoutMs?: number;
  signal?: AbortSignal;
}

export interface WaitOptions {
  timeoutMs?: number;
  signal?: AbortSignal;
}

export interface Recordings {
  list(options?: { page?: number; perPage?: number; status?: Status | 'all' }): Promise<Page>;
  all(options?: { status?: Status | 'all' }): AsyncGenerator<Recording, void, void>;
  get(recordingId: string, options?: { signal?: AbortSignal }): Promise<Recording>;
  wait(recordingId: string, options?: WaitOptions): Promise<Recording>;
  export(recordingId: string, format?: Format): Promise<Blob>;
  delete(recordingId: string): Promise<Deletion>;
}

export interface Webhooks {
  create(webhook: { url: string; events?: Event[]; secret?: string }): Promise<Webhook>;
  list(): Promise<Webhook[]>;
  update(
    webhookId: string,
    changes: { url?: string; events?: Event[]; enabled?: boolean },
  ): Promise<Webhook>;
  delete(webhookId: string): Promise<void>;
  test(webhookId: string): Promise<Delivery>;
  rotate(webhookId: string): Promise<Webhook>;
  deliveries(webhookId: string): Promise<Delivery[]>;
  redeliver(webhookId: string, deliveryId: string): Promise<Delivery>;
}

/** Client of one server. */
export class EmotionChat {
  constructor(options: Options);
  readonly recordings: Recordings;
  readonly webhooks: Webhooks;
  /** Throws EmotionChatError where it is refused, AnalysisFailed where it cannot be analysed. */
  analyze(video: Video, options?: AnalyzeOptions): Promise<Recording>;
  usage(): Promise<Usage>;
}

/** What the server refuses, or what kept it from answering (status 0). */
export class EmotionChatError extends Error {
  readonly status: number;
  readonly code: string;
  readonly details: Record<string, unknown>;
  /** Seconds, for 429. */
  readonly retryAfter?: number;
}

/** The analysis ended without a result. */
export class AnalysisFailed extends EmotionChatError {}

/** Checks X-EmotionChat-Signature. */
export function verifyWebhook(
  payload: string | ArrayBuffer | Uint8Array,
  signature: string,
  secret: string,
): Promise<boolean>;

/** Checks X-AffectMesh-Signature, and refuses what is too old. */
export function verifyTimestamped(
  payload: string | ArrayBuffer | Uint8Array,
  signature: string,
  secret: string,
  options?: { toleranceS?: number; now?: () => number },
): Promise<boolean>;
