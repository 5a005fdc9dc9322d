import type { JsonValue } from "@bufbuild/protobuf";
import type { Call, OptionSpec } from "../command-line/command.ts";
import { formatValue, outputFormats, type OutputFormat } from "./cri-message.ts";
import { type Column, formatTable } from "./table.ts";

/** The options of every command that lists objects. */
export const listingOptions = {
  output: { short: "o", value: "FORMAT", doc: "How to print", complete: outputFormats },
  quiet: { short: "q", doc: "Only the ids, one a line" },
} as const satisfies Readonly<Record<string, OptionSpec>>;

/** The option of commands that print one thing. */
export const outputOption = {
  output: { short: "o", value: "FORMAT", doc: "How to print", complete: outputFormats },
} as const satisfies Readonly<Record<string, OptionSpec>>;

/** The format asked for; a table where nothing is. */
export function outputFormat(call: Call): OutputFormat {
  const asked = call.options.text("output");
  return outputFormats.find((format) => format === asked) ?? "table";
}

/** How a list of `T` is printed. */
export interface Listing<T> {
  readonly items: readonly T[];
  readonly idOf: (item: T) => string;
  readonly columns: readonly Column<T>[];
  /** The CRI's own message, for JSON and YAML. */
  readonly message: () => JsonValue;
}

/** Prints a list as the call asks for it. */
export function printListing<T>(call: Call, listing: Listing<T>): void {
  const { terminal, options } = call;
  const format = outputFormat(call);
  if (options.has("quiet")) {
    terminal.out(listing.items.map((item) => `${listing.idOf(item)}\n`).join(""));
  } else if (format === "json" || format === "yaml") {
    terminal.out(formatValue(listing.message(), format));
  } else {
    const options = { style: terminal.style, width: terminal.width(), wide: format === "wide" };
    terminal.out(formatTable(listing.items, listing.columns, options));
  }
}
