/** Names as JavaScript writes them. */

/** Objects whose keys are data, not names. */
const DATA = new Set(['metadata', 'emotion_breakdown', 'emotions', 'details']);

const camel = (name) => name.replace(/_([a-z0-9])/g, (_, letter) => letter.toUpperCase());

/** An answer with its names in camel case. */
export function camelCased(value) {
  if (Array.isArray(value)) return value.map(camelCased);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [
      camel(name),
      DATA.has(name) ? inner : camelCased(inner),
    ]),
  );
}
