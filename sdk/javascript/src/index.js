/** Client of the EmoVision API. */

export { EmotionChat } from './client.js';
export { AnalysisFailed, EmotionChatError } from './errors.js';
export { verifyTimestamped, verifyWebhook } from './webhooks.js';
