import { randomUUID } from "node:crypto";
import { mkdir } from "node:fs/promises";
import type { ProgressReport } from "../../client/pods/context.ts";
import { podRollback } from "../../client/pods/run-pod.ts";
import { restorePod, type RestoredPod } from "../../client/pods/restore-pod.ts";
import {
  makeRestoreDirectories,
  type PodSnapshot,
  readSnapshot,
  restoreConfigs,
} from "../../client/pods/snapshot.ts";
import type { Snapshot } from "../../gen/davit/v1/checkpoints_pb.ts";
import type { PortMapping } from "../../gen/runtime/v1/api_pb.ts";
import { podDirectory } from "../../manifest/index.ts";
import type { Call } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { formatHostPort, type HostPort } from "../../client/pods/host-port.ts";
import { protocolOf } from "../../client/pods/host-ports.ts";
import { hostPortsInUse } from "../lifecycle/host-ports.ts";
import { podsRootOf } from "../lifecycle/read-manifests.ts";
import { removePodDirectory } from "../lifecycle/volumes.ts";
import type { Objects } from "../objects/objects.ts";
import { formatDuration, shortId } from "../output/figures.ts";
import { LiveLines, spinnerAt } from "../output/live-lines.ts";
import { printable, printableLines } from "../output/printable.ts";
import { progressOutput } from "../output/progress-output.ts";
import { freeName } from "../run-image/name.ts";
import { doing } from "../server/explain.ts";
import type { Server } from "../server/session.ts";

/** Restores a pod of a snapshot as the options of davit restore say. After an error or Ctrl-C, nothing of it remains. */
export async function restoreSnapshot(
  call: Call,
  server: Server,
  objects: Objects,
  from: Snapshot,
): Promise<RestoredPod> {
  const { terminal } = call;
  const snapshot = readSnapshot(from);
  const names = { ...(await chooseNames(call, objects, snapshot)), uid: randomUUID() };
  const path = `${names.namespace}/${names.name}`;
  const directory = podDirectory(podsRootOf(call), names);
  const configs = restoreConfigs(snapshot, {
    names,
    directory,
    labels: snapshot.config.labels,
    annotations: snapshot.config.annotations,
    portMappings: await freePorts(call, server, objects, snapshot),
  });
  const quiet = call.options.has("quiet");
  using lines = new LiveLines(progressOutput(terminal, quiet));
  let step = "restoring";
  const left: string[] = [];
  const report: ProgressReport = {
    step: (text) => (step = text),
    warn: (text) => {
      left.push(text);
      lines.print(`${terminal.errStyle.yellow("!")} ${printableLines(text)}`);
    },
  };
  const undo = podRollback(report);
  const startedMs = performance.now();
  using _line = lines.add((now) => [
    `${spinnerAt(now)} ${path}  ${step}  ${formatDuration(now - startedMs)}`,
  ]);
  try {
    undo.defer(`remove directory "${directory}"`, () => removePodDirectory(directory));
    await mkdir(directory, { recursive: true, mode: 0o755 });
    await makeRestoreDirectories(snapshot, directory);
    const context = { server: { ...server, doing }, signal: server.signal };
    const pod = await restorePod(context, { snapshot, configs }, undo, report);
    undo.commit();
    if (!quiet) lines.print(`${terminal.errStyle.green("\u2713")} ${path}  ${took(startedMs)}`);
    return pod;
  } catch (error) {
    await undo[Symbol.asyncDispose]();
    if (!server.signal.aborted) throw error;
    const what =
      left.length === 0
        ? "everything that was created is removed"
        : `not everything that was created is removed; see "davit pods" for ${path}`;
    throw new CommandFailure(exitCode.interrupted, `interrupted; ${what}`);
  }
}

function took(startedMs: number): string {
  return formatDuration(performance.now() - startedMs);
}

/** The name that was asked for, that of the snapshot's pod, or one made of it if that pod still exists. */
async function chooseNames(
  { options }: Call,
  objects: Objects,
  { id, podName, podNamespace }: PodSnapshot,
): Promise<{ readonly name: string; readonly namespace: string }> {
  const namespace = options.text("namespace") ?? podNamespace;
  const taken = new Set(
    (await objects.pods())
      .filter(({ metadata }) => metadata?.namespace === namespace)
      .map(({ metadata }) => metadata?.name),
  );
  const asked = options.text("name");
  for (const [option, text] of [
    ["name", asked],
    ["namespace", options.text("namespace")],
  ] as const) {
    if (text === undefined || /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/.test(text)) continue;
    throw new CommandFailure(
      exitCode.usage,
      `restore snapshot "${shortId(id)}": option "--${option}" is "${text}": use lower-case letters, digits, "-" and "."`,
    );
  }
  if (asked === undefined) {
    const name = taken.has(podName) ? freeName(podName, (each) => taken.has(each)) : podName;
    return { name, namespace };
  }
  if (!taken.has(asked)) return { name: asked, namespace };
  throw new CommandFailure(
    exitCode.failed,
    `restore snapshot "${shortId(id)}": there is a pod "${namespace}/${asked}" already, nothing was done; ` +
      `choose another --name, or remove it with "davit down ${namespace}/${asked}"`,
  );
}

/** The port mappings of the snapshot without those whose host port is in use, for each of which a note is printed. */
async function freePorts(
  { options, terminal }: Call,
  server: Server,
  objects: Objects,
  { config }: PodSnapshot,
): Promise<readonly PortMapping[]> {
  const published = config.portMappings
    .filter(({ hostPort }) => hostPort > 0)
    .map((mapping) => ({ mapping, port: hostPortOf(mapping) }));
  const ports = published.map(({ port }) => port);
  const inUse = await hostPortsInUse(server, objects, ports);
  for (const [port, holder] of options.has("quiet") ? [] : inUse) {
    const note = `host port ${formatHostPort(port)} is not published: ${holder}`;
    terminal.err(`${terminal.errStyle.dim(printable(note))}\n`);
  }
  const left = new Set(
    published.filter(({ port }) => inUse.has(port)).map(({ mapping }) => mapping),
  );
  return config.portMappings.filter((mapping) => !left.has(mapping));
}

function hostPortOf({ protocol, hostPort, hostIp }: PortMapping): HostPort {
  return { protocol: protocolOf(protocol), port: hostPort, ip: hostIp };
}
