// Runs pods (client/pods) with the command line's errors, volumes and logs.
import type { Rollback } from "../../base/rollback.ts";
import type { PodRunContext, ProgressReport, RunningPod } from "../../client/pods/context.ts";
import * as pods from "../../client/pods/run-pod.ts";
import type { ContainerStatus } from "../../gen/runtime/v1/api_pb.ts";
import type { NodeInfo, PodManifest } from "../../manifest/index.ts";
import { readLog } from "../../linux/file/index.ts";
import { doing } from "../server/explain.ts";
import type { Server } from "../server/session.ts";
import { markDirectory } from "./left-directories.ts";
import { makeVolumes } from "./volumes.ts";

export type { ProgressReport, RunningPod } from "../../client/pods/context.ts";
export { podRollback } from "../../client/pods/run-pod.ts";

/** What the pods of a command share: each image is pulled only once. */
export interface RunContext {
  readonly server: Server;
  readonly node: NodeInfo;
  readonly pulls: Map<string, Promise<string>>;
  /** Aborted by Ctrl-C, and when another pod of the command fails. */
  readonly signal: AbortSignal;
}

const tailLines = 8;
const logMs = 1_000;

/** Runs a pod, with its cleanup in `undo`. */
export async function runPod(
  context: RunContext,
  pod: PodManifest,
  undo: Rollback,
  report: ProgressReport,
): Promise<RunningPod> {
  return await pods.runPod(withParts(context), pod, undo, report);
}

/** Waits until each container is running and still runs a moment later, or has exited with 0. */
export async function waitUntilRunning(
  context: RunContext,
  pod: RunningPod,
  report: ProgressReport,
): Promise<void> {
  await pods.waitUntilRunning(withParts(context), pod, report);
}

/** Waits a moment. Returns a message for each container that has failed meanwhile. */
export async function earlyFailures(
  context: RunContext,
  pod: RunningPod,
  report: ProgressReport,
): Promise<readonly string[]> {
  return await pods.earlyFailures(withParts(context), pod, report);
}

/** The context of client/pods for a command. */
export function withParts(context: RunContext): PodRunContext {
  const { server } = context;
  return {
    ...context,
    server: { ...server, doing },
    lastLines,
    makeVolumes: async (pod, undo) => {
      await makeVolumes(pod, undo);
      await markDirectory(pod, server.endpoint);
    },
  };
}

async function lastLines({ logPath }: ContainerStatus): Promise<readonly string[]> {
  const lines: string[] = [];
  try {
    const signal = AbortSignal.timeout(logMs);
    for await (const batch of readLog(logPath, { tail: tailLines, signal })) {
      lines.push(...batch.map(({ text }) => text.toString()));
    }
  } catch {
    // The log cannot be read: the message goes without it.
  }
  return lines;
}
