import { type ErrorKind, RuntimeError } from "../../base/errors.ts";
import {
  type CheckedSignature,
  type Verification,
  type VerifierOpinion,
  type VerifyResponse,
  VerifyResponseSchema,
} from "../../gen/davit/v1/pull_pb.ts";
import { davitOnly } from "../archives/load-archive.ts";
import type { Call } from "../command-line/command.ts";
import { exitCode, exitCodeOf } from "../command-line/exit-code.ts";
import { formatValue, messageToJson } from "../output/cri-message.ts";
import { shortId } from "../output/figures.ts";
import { printable } from "../output/printable.ts";
import { type Column, formatTable } from "../output/table.ts";
import type { Terminal } from "../output/terminal.ts";
import { doing } from "../server/explain.ts";
import type { Server } from "../server/session.ts";

/** Prints what the policies of the node say of images. The exit code is that of the first one that is rejected. */
export async function verifyImages(
  { terminal, options, operands }: Call,
  server: Server,
  credentials: { readonly username: string; readonly password: string } | undefined,
): Promise<number> {
  const namespace = options.text("namespace") ?? "";
  const verified: VerifyResponse[] = [];
  for (const image of new Set(operands)) {
    const request = { image, namespace, ...(credentials === undefined ? {} : { credentials }) };
    const answer = davitOnly(server.client.pulls.verify(request, server.unlimited()));
    verified.push(await doing(`verify image "${image}"`, answer));
  }
  const format = options.text("output");
  if (format === "json" || format === "yaml") {
    const values = verified.map((one) => messageToJson(VerifyResponseSchema, one));
    const [first = null] = values;
    terminal.out(formatValue(values.length === 1 ? first : values, format));
  } else {
    const names = [...new Set(operands)];
    terminal.out(
      verified.map((one, at) => formatVerified(names[at] ?? "", one, terminal)).join("\n"),
    );
  }
  const rejected = verified.find(({ error }) => error !== undefined)?.error;
  if (rejected === undefined) return exitCode.done;
  return exitCodeOf(new RuntimeError(rejected.kind as ErrorKind, rejected.message));
}

/** What was found out about an image, as text. */
function formatVerified(
  asked: string,
  { configured, accepted, imageId, verifications }: VerifyResponse,
  terminal: Pick<Terminal, "style" | "width">,
): string {
  if (!configured) {
    return `${printable(asked)}: accepted: this node verifies no images ([images.verification] of davit.toml)\n`;
  }
  const place = imageId === "" ? "in its registry" : `on this node, ${imageId}`;
  const end = accepted
    ? `Accepted: ${imageId === "" ? "a pull" : "a start"} would be allowed now.\n`
    : `Rejected: ${imageId === "" ? "a pull" : "a start"} would fail now.\n`;
  return [...verifications.map((one) => formatOne(one, place, terminal)), end].join("\n");
}

function formatOne(
  { name, digest, manifestDigest, verifiers }: Verification,
  place: string,
  terminal: Pick<Terminal, "style" | "width">,
): string {
  const lines = [
    ["image", name],
    ["found", place],
    ...(digest === "" ? [] : [["digest", digest]]),
    ...(manifestDigest === digest ? [] : [["manifest", manifestDigest]]),
  ];
  const head = lines
    .map(([title = "", text = ""]) => `${title.padEnd(10)}${printable(text)}\n`)
    .join("");
  const table = { style: terminal.style, width: terminal.width(), wide: false };
  const signatures = verifiers.flatMap((each) => each.signatures);
  return [
    head,
    formatTable(verifiers, verifierColumns, table),
    ...(signatures.length === 0 ? [] : [formatTable(signatures, signatureColumns, table)]),
  ].join("\n");
}

const verifierColumns: readonly Column<VerifierOpinion>[] = [
  { title: "VERIFIER", of: ({ verifier }) => verifier },
  { title: "DECISION", of: ({ decision }) => decision },
  { title: "POLICY", of: ({ policy }) => policy },
  { title: "REASON", of: ({ reason }) => reason },
];

const signatureColumns: readonly Column<CheckedSignature>[] = [
  { title: "SIGNATURE", of: ({ digest }) => shortId(digest) },
  { title: "FORMAT", of: ({ format }) => format },
  { title: "COUNTS", of: ({ valid }) => (valid ? "yes" : "no") },
  { title: "SIGNER", of: ({ signer }) => signer || "unknown" },
  { title: "REASON", of: ({ reason }) => reason },
];
