import { ContainerState } from "../../gen/runtime/v1/api_pb.ts";
import type { Call } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { containerPath, containersOf, type PodContainer } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { pick } from "../objects/pick.ts";
import { recordedContainer } from "../objects/recorded-config.ts";
import { member } from "../output/cri-message.ts";
import { formatBytes } from "../output/figures.ts";
import { type Column, formatTable } from "../output/table.ts";
import type { Server } from "../server/session.ts";
import { type ContainerProcess, processesOf } from "./processes.ts";

interface Row extends ContainerProcess {
  readonly container: string;
}

/** Prints the processes of the running containers that the call names, as docker top does. */
export async function printProcesses(call: Call, server: Server): Promise<number> {
  const objects = new Objects(server);
  const containers = new Map<string, PodContainer>();
  for (const word of call.operands) {
    const found = await pick(word, ["pod", "container"], objects);
    const running = containersOf(found, await objects.containers()).filter(
      ({ container }) => container.state === ContainerState.CONTAINER_RUNNING,
    );
    if (running.length === 0) {
      throw new CommandFailure(
        exitCode.failed,
        `list the processes of ${found.kind} "${word}": ${found.kind === "pod" ? "no container of it is running" : "it is not running"}`,
      );
    }
    for (const each of running) containers.set(each.container.id, each);
  }
  const rows: Row[] = [];
  for (const each of containers.values()) rows.push(...(await rowsOf(each, server)));
  const { style, width } = { style: call.terminal.style, width: call.terminal.width() };
  const shown = containers.size > 1 ? columns : columns.slice(1);
  call.terminal.out(formatTable(rows, shown, { style, width }));
  return exitCode.done;
}

async function rowsOf(found: PodContainer, server: Server): Promise<readonly Row[]> {
  const { info } = await recordedContainer(server, found);
  const pid = member(info, "pid");
  const processes = typeof pid === "number" ? processesOf(found.container.id, pid) : undefined;
  if (processes === undefined) {
    throw new CommandFailure(
      exitCode.failed,
      `list the processes of container "${containerPath(found)}": its first process is not visible here; ` +
        `run davit top where the server runs, or use "davit exec ${containerPath(found)} ps"`,
    );
  }
  const container = found.container.metadata?.name ?? "";
  return processes.map((each) => ({ ...each, container }));
}

const columns: readonly Column<Row>[] = [
  { title: "CONTAINER", of: ({ container }) => container },
  { title: "UID", of: ({ uid }) => String(uid), right: true },
  { title: "PID", of: ({ pid }) => String(pid), right: true },
  { title: "PPID", of: ({ parent }) => String(parent), right: true },
  { title: "IN POD", of: ({ innerPid }) => String(innerPid), right: true },
  { title: "STATE", of: ({ state }) => state },
  { title: "THREADS", of: ({ threads }) => String(threads), right: true },
  { title: "MEMORY", of: ({ memoryBytes }) => formatBytes(memoryBytes), right: true },
  { title: "CPU TIME", of: ({ cpuSeconds }) => `${cpuSeconds.toFixed(2)} s`, right: true },
  { title: "COMMAND", of: ({ command }) => command },
];
