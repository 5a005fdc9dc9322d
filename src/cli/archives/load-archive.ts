import type { MessageInitShape } from "@bufbuild/protobuf";
import type { LoadOptionsSchema, LoadRequestSchema } from "../../gen/davit/v1/images_pb.ts";
import { isKind, messageOf } from "../../base/errors.ts";
import type { Call } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { formatBytes, formatDuration, shortId } from "../output/figures.ts";
import { LiveLines, spinnerAt } from "../output/live-lines.ts";
import { printable } from "../output/printable.ts";
import { progressOutput } from "../output/progress-output.ts";
import { doing } from "../server/explain.ts";
import type { Server } from "../server/session.ts";
import type { ArchiveInput } from "./archive-input.ts";

type Request = MessageInitShape<typeof LoadRequestSchema>;

/** Sends an archive to davit, and prints a line for each image that was loaded from it. */
export async function loadArchive(
  call: Call,
  server: Server,
  input: ArchiveInput,
  options: MessageInitShape<typeof LoadOptionsSchema>,
): Promise<number> {
  const { terminal } = call;
  const quiet = call.options.has("quiet");
  let sent = 0;
  async function* requests(): AsyncGenerator<Request> {
    yield { part: { case: "options", value: options } };
    for await (const value of input.chunks) {
      yield { part: { case: "chunk", value } };
      sent += value.length;
    }
    yield { part: { case: "end", value: {} } };
  }
  using lines = new LiveLines(progressOutput(terminal, quiet));
  const startedMs = performance.now();
  using _shown = lines.add((now) => {
    const of = input.sizeBytes === undefined ? "" : ` / ${formatBytes(input.sizeBytes)}`;
    const doing = sent === input.sizeBytes ? "unpacking" : `${formatBytes(sent)}${of}`;
    return [
      `${spinnerAt(now)} ${printable(input.name)}  ${doing}  ${formatDuration(now - startedMs)}`,
    ];
  });
  const print = async (): Promise<void> => {
    for await (const { id, names } of server.client.davit.load(requests(), server.unlimited())) {
      const shown = names.length === 0 ? [shortId(id)] : names;
      const text = quiet ? `${id}\n` : shown.map((name) => `loaded ${printable(name)}\n`).join("");
      terminal.out(text);
    }
  };
  await doing(`load "${input.name}"`, davitOnly(print()));
  return exitCode.done;
}

/** Explains the failure of a call of davit's own service with another server. */
export async function davitOnly<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    const isOther =
      isKind(cause, "unimplemented") &&
      /\b(no such|unknown) (method|service)\b/.test(messageOf(cause));
    if (!isOther) throw cause;
    throw new CommandFailure(
      exitCode.unsupported,
      "the server is not davit, or is an older davit: it does not serve this call of davit's own API; name the socket of a current davit with --endpoint",
      { cause },
    );
  }
}
