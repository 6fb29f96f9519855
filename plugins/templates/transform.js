// A transform: what each record of a topic becomes.
import { records, text } from "./ottla.js";

// Nothing, a record, or an array of records for this one. It must depend on this record alone.
export const transform = records((record) => {
  if (record.value === null) return record;
  return { ...record, value: text(record.value).toUpperCase() };
});
