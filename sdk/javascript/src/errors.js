/** What the server refuses, or what kept it from answering (status 0). */
export class EmotionChatError extends Error {
  constructor(message, { status = 0, code = '', details = {}, retryAfter, cause } = {}) {
    super(message, { cause });
    this.name = this.constructor.name;
    this.status = status;
    this.code = code;
    this.details = details;
    this.retryAfter = retryAfter;
  }

  /** The error that an answer stands for. */
  static async of(response) {
    const body = await response.json().catch(() => ({}));
    const status = response.status;
    return new EmotionChatError(body.error ?? `The server answered ${status}.`, {
      status,
      code: body.code ?? '',
      details: body.details ?? {},
      retryAfter:
        status === 429
          ? Number(body.retry_after ?? response.headers.get('retry-after') ?? 1)
          : undefined,
    });
  }
}

/** The analysis ended without a result. */
export class AnalysisFailed extends EmotionChatError {}
