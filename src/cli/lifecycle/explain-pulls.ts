import { type ErrorKind, RuntimeError } from "../../base/errors.ts";
import {
  Decision,
  type ExplainResponse,
  ExplainResponseSchema,
  type Host,
  type Layer,
} from "../../gen/davit/v1/pull_pb.ts";
import { davitOnly } from "../archives/load-archive.ts";
import type { Call } from "../command-line/command.ts";
import { exitCode, exitCodeOf } from "../command-line/exit-code.ts";
import { formatValue, messageToJson } from "../output/cri-message.ts";
import { formatBytes, shortId } from "../output/figures.ts";
import { printable } from "../output/printable.ts";
import { type Column, formatTable } from "../output/table.ts";
import type { Terminal } from "../output/terminal.ts";
import { doing } from "../server/explain.ts";
import type { Server } from "../server/session.ts";

/** Prints what the pulls of a call would do. The exit code is that of the first pull that would fail. */
export async function explainPulls(
  call: Call,
  server: Server,
  credentials: { readonly username: string; readonly password: string } | undefined,
): Promise<number> {
  const { terminal, options, operands } = call;
  const explained: ExplainResponse[] = [];
  for (const image of new Set(operands)) {
    const request = credentials === undefined ? { image } : { image, credentials };
    const answer = davitOnly(server.client.pulls.explain(request, server.unlimited()));
    explained.push(await doing(`explain the pull of "${image}"`, answer));
  }
  const format = options.text("output");
  if (format === "json" || format === "yaml") {
    const values = explained.map((one) => messageToJson(ExplainResponseSchema, one));
    const [first = null] = values;
    terminal.out(formatValue(values.length === 1 ? first : values, format));
  } else {
    terminal.out(explained.map((one) => formatExplanation(one, terminal)).join("\n"));
  }
  const failed = explained.find(({ error }) => error !== undefined)?.error;
  if (failed === undefined) return exitCode.done;
  return exitCodeOf(new RuntimeError(failed.kind as ErrorKind, failed.message));
}

/** An explanation as text: the image, its hosts, its layers, and what would be fetched. */
export function formatExplanation(
  explained: ExplainResponse,
  terminal: Pick<Terminal, "style" | "width">,
): string {
  const table = { style: terminal.style, width: terminal.width(), wide: false };
  const parts = [
    facts(explained),
    formatTable(explained.hosts, hostColumns, table),
    ...(explained.layers.length === 0 ? [] : [formatTable(explained.layers, layerColumns, table)]),
    end(explained),
  ];
  return parts.join("\n");
}

function facts({ name, digest, platform, configDigest, present }: ExplainResponse): string {
  const lines = [["image", name]];
  if (platform !== undefined) {
    const chosen = platform.chosen === "" ? "the entry without one" : platform.chosen;
    lines.push(["platform", `${chosen}, of ${platform.offered.join(", ") || "none"}`]);
  }
  if (digest !== "") lines.push(["digest", digest]);
  if (configDigest !== "") {
    lines.push(["image id", `${configDigest}${present ? ", on this node already" : ""}`]);
  }
  return lines.map(([title = "", text = ""]) => `${title.padEnd(10)}${printable(text)}\n`).join("");
}

const hostColumns: readonly Column<Host>[] = [
  { title: "HOST", of: ({ root, repository }) => `${root.replace(/\/v2$/, "")}/${repository}` },
  { title: "FOR", of: usesOf },
  { title: "CREDENTIALS", of: ({ credentials }) => credentials },
  { title: "CONFIGURED IN", of: ({ source }) => source },
];

function usesOf({ mirror, insecure, avoided, capabilities }: Host): string {
  const words = [
    mirror ? "mirror" : "registry",
    ...(capabilities.includes("resolve") ? [] : ["not for tags"]),
    ...(capabilities.includes("pull") ? [] : ["for tags only"]),
    ...(insecure ? ["insecure"] : []),
    ...(avoided ? ["asked last, it did not answer"] : []),
  ];
  return words.join(", ");
}

const decisionTexts: Readonly<Record<Decision, string>> = {
  [Decision.UNSPECIFIED]: "unknown",
  [Decision.MISSING]: "fetch: not on this node",
  [Decision.TRUSTED]: "use: on this node, and trusted",
  [Decision.GRANTED]: "use: on this node, and granted by the registry",
  [Decision.OTHER_REGISTRY]: "fetch: on this node, but never from this registry",
  [Decision.NOT_GRANTED]: "fetch: on this node, but the registry did not confirm it",
};

const layerColumns: readonly Column<Layer>[] = [
  { title: "LAYER", of: ({ digest }) => shortId(digest) },
  { title: "SIZE", of: ({ sizeBytes }) => formatBytes(sizeBytes), right: true },
  { title: "PULL", of: pullOf },
];

function pullOf({ decision, encrypted }: Layer): string {
  const text = decisionTexts[decision] ?? "unknown";
  return encrypted ? `${text}; encrypted, and a key of this node decrypts it` : text;
}

function end({ layers, fetchBytes, estimatedDiskBytes, error }: ExplainResponse): string {
  if (error !== undefined) return `A pull would fail: ${printable(error.message)}\n`;
  if (fetchBytes === 0n) return "Nothing to fetch but the manifest and the config.\n";
  const isFetched = ({ decision }: Layer): boolean =>
    decision !== Decision.TRUSTED && decision !== Decision.GRANTED;
  const count = layers.filter(isFetched).length;
  const what = `${count} ${count === 1 ? "layer" : "layers"}`;
  return `To fetch: ${what}, ${formatBytes(fetchBytes)}; about ${formatBytes(estimatedDiskBytes)} more on the disk.\n`;
}
