import type { JsonValue } from "@bufbuild/protobuf";
import type { Call, OptionSpec } from "../command-line/command.ts";
import { formatValue, outputFormats, type OutputFormat } from "./cri-message.ts";
import { shortId } from "./figures.ts";
import { printable } from "./printable.ts";
import { type Column, formatTable } from "./table.ts";

/** The option of commands that print one object. */
export const outputOption = {
  output: {
    short: "o",
    value: "FORMAT",
    doc: "Output format",
    complete: outputFormats,
    alsoNamed: ["--format"],
  },
} as const satisfies Readonly<Record<string, OptionSpec>>;

/** The options of commands that list objects. */
export const listingOptions = {
  ...outputOption,
  quiet: { short: "q", doc: "Print only ids" },
  "no-trunc": { doc: "Print whole ids in tables" },
} as const satisfies Readonly<Record<string, OptionSpec>>;

/** The output format of a call; "table" by default. */
export function outputFormat(call: Call): OutputFormat {
  const asked = call.options.text("output");
  return outputFormats.find((format) => format === asked) ?? "table";
}

/** How a table shows ids: in full with --no-trunc. */
export function idFormat({ options }: Call): (id: string) => string {
  return options.has("no-trunc") ? (id) => id : shortId;
}

/** A list of `T`, and how to print it. */
interface Listing<T> {
  readonly items: readonly T[];
  readonly idOf: (item: T) => string;
  readonly columns: readonly Column<T>[];
  /** The message of the CRI, for JSON and YAML. */
  readonly message: () => JsonValue;
}

/** Prints a list in the output format of the call. */
export function printListing<T>(call: Call, listing: Listing<T>): void {
  const { terminal, options } = call;
  const format = outputFormat(call);
  if (options.has("quiet")) {
    terminal.out(listing.items.map((item) => `${printable(listing.idOf(item))}\n`).join(""));
  } else if (format === "json" || format === "yaml") {
    terminal.out(formatValue(listing.message(), format));
  } else {
    const options = { style: terminal.style, width: terminal.width(), wide: format === "wide" };
    terminal.out(formatTable(listing.items, listing.columns, options));
  }
}
