import { writeFileSync } from "node:fs";

import {
  type FifoReader,
  type FifoWriter,
  makeFifo,
  openFifoReader,
  openFifoWriter,
} from "../../../../linux/stream/index.ts";
import { openInputStream, openOutputStream, streamUrl } from "../../streams/streams.ts";
import type { CommandStreams, ExecDeps, ExecTarget } from "./command.ts";

type StreamName = "stdin" | "stdout" | "stderr";

/**
 * Makes the streams of a command and opens our ends: fifos, or streams that its shim serves. `paths` is what the
 * shim gets, "" for /dev/null. Of a stream of the shim an empty file is made instead of a fifo, by which a later
 * daemon finds the command (findLostCommands).
 */
export async function openCommandStreams(
  { paths: layout }: Pick<ExecDeps, "paths">,
  command: {
    readonly target: ExecTarget;
    readonly execId: string;
    readonly chosen: readonly StreamName[];
  },
): Promise<{ readonly streams: CommandStreams; readonly paths: Record<StreamName, string> }> {
  const { target, execId, chosen } = command;
  const { shim, streaming } = target;
  const paths = { stdin: "", stdout: "", stderr: "" };
  const opened: { close(): void }[] = [];
  const prepared = (name: StreamName): string => {
    const path = layout.execFifo(target.id, `${execId}-${name}`);
    if (streaming) writeFileSync(path, "", { mode: 0o600 });
    else makeFifo(path);
    paths[name] = streaming ? streamUrl(shim.address, `${execId}-${name}`) : path;
    return path;
  };
  const output = async (name: "stdout" | "stderr"): Promise<FifoReader | undefined> => {
    if (!chosen.includes(name)) return undefined;
    const path = prepared(name);
    const one = streaming
      ? await openOutputStream(shim.client, `${execId}-${name}`)
      : openFifoReader(path);
    opened.push(one);
    return one;
  };
  const input = async (): Promise<FifoWriter | undefined> => {
    if (!chosen.includes("stdin")) return undefined;
    const path = prepared("stdin");
    return streaming ? openInputStream(shim.client, `${execId}-stdin`) : openFifoWriter(path);
  };
  try {
    const [stdout, stderr] = [await output("stdout"), await output("stderr")];
    return { streams: { stdin: await input(), stdout, stderr }, paths };
  } catch (error) {
    for (const one of opened) one.close();
    throw error;
  }
}
