// Functions for SQL: boolean, int64 (a BigInt), float64, utf8, binary (a Uint8Array), timestamp (milliseconds since 1970).
import { functionsOf } from "./ottla.js";

export const { functions, call } = functionsOf({
  // The first `keep` characters, and a star for each other.
  mask: {
    takes: ["utf8", "int64"],
    gives: "utf8",
    call: (text, keep) => Array.from(text, (character, at) => (at < keep ? character : "*")).join(""),
  },
  // A part of a whole; what is thrown is the reason why a row cannot be computed.
  share: {
    takes: ["float64", "float64"],
    gives: "float64",
    call: (part, whole) => {
      if (whole === 0) throw new Error("the whole is 0");
      return part / whole;
    },
  },
});
