// An example transform: JSON records without what tells whose they are. Every field whose name speaks of an e-mail address, a password
// or a token becomes stars, however deep it lies, and every e-mail address in a text, too. A tombstone passes as it is; a value
// that is not JSON is refused.
//
// `ottla plugin new redact --language js --world transform`, this file in place of the plugin.js there, and `ottla plugin build redact`.
import { records, text } from "./ottla.js";

const SECRET = /mail|password|token/i;
const ADDRESS = /[\w.+-]+@[\w-]+(\.[\w-]+)+/g;

function redacted(value) {
  if (typeof value === "string") return value.replace(ADDRESS, "***");
  if (Array.isArray(value)) return value.map(redacted);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [name, SECRET.test(name) ? "***" : redacted(inner)]),
  );
}

export const transform = records((record) => {
  if (record.value === null) return record;
  return { ...record, value: JSON.stringify(redacted(JSON.parse(text(record.value)))) };
});
