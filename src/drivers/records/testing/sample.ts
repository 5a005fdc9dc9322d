import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { create, toBinary } from "@bufbuild/protobuf";
import type { LogFields, Logger, LogLevel } from "../../../base/logger.ts";
import type { Attachment } from "../../../core/network/index.ts";
import type { Sandbox } from "../../../core/sandbox/index.ts";
import {
  PodSandboxConfigSchema,
  RunPodSandboxRequestSchema,
  UpdatePodSandboxResourcesRequestSchema,
} from "../../../gen/runtime/v1/api_pb.ts";

/** A sandbox with every field that there is: a new one does not compile until it is here. */
export function fullSandbox(id: string): Required<Sandbox> {
  const config = create(PodSandboxConfigSchema, {
    metadata: { name: `pod-${id}`, namespace: "default", uid: `uid-${id}`, attempt: 2 },
    hostname: "h",
    annotations: { key: "value" },
    linux: { cgroupParent: "/kubepods/pod1" },
  });
  const request = create(RunPodSandboxRequestSchema, { config, runtimeHandler: "crun" });
  return {
    id,
    name: `pod-${id}_default_uid-${id}_2`,
    requestBytes: toBinary(RunPodSandboxRequestSchema, request),
    config,
    resourcesBytes: toBinary(
      UpdatePodSandboxResourcesRequestSchema,
      create(UpdatePodSandboxResourcesRequestSchema, {
        podSandboxId: id,
        resources: { cpuShares: 5n },
      }),
    ),
    handler: {
      requested: "",
      name: "crun",
      controller: "podsandbox",
      path: "/usr/bin/crun",
      runtimeType: "io.containerd.runc.v2",
    },
    createdAtNs: 1_764_000_000_123_456_789n,
    bootId: "0d4f6b1e-0000-4000-8000-000000000000",
    state: { name: "ready" },
    cgroup: { parent: "/kubepods/pod1", ownedFrom: "/kubepods" },
    process: { pid: 4711, startTime: "18446744073709551615" },
    netnsPath: "/run/davit/netns/x",
    network: { ips: ["10.88.0.2", "fd00::2"], result: '{"cniVersion":"1.0.0"}' },
  };
}

/** A sandbox with nothing that may be absent. */
export function bareSandbox(id: string): Sandbox {
  const { name, requestBytes, config, bootId } = fullSandbox(id);
  return {
    id,
    name,
    requestBytes,
    config,
    handler: { requested: "", name: "crun", controller: "podsandbox" },
    createdAtNs: 1n,
    bootId,
    state: { name: "creating" },
  };
}

/** An attachment with every field. */
export function fullAttachment(sandboxId: string): Attachment {
  return {
    sandboxId,
    ifName: "eth0",
    netnsPath: "/run/davit/netns/x",
    conflist: '{"name":"pods","plugins":[]}',
    args: '{"K8S_POD_NAME":"p"}',
    result: '{"ips":[]}',
    bootId: "0d4f6b1e-0000-4000-8000-000000000000",
    removal: { tries: 3, firstTriedAtMs: 1_764_000_000_123, lastError: "no plugin", queued: true },
  };
}

/** A folder that goes away with the test. */
export function temporaryFolder(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), "davit-records-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** A line that a {@link MemoryLogger} took. */
export interface LogLine {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

/** A logger that keeps its lines. */
export class MemoryLogger implements Logger {
  readonly lines: LogLine[] = [];

  debug(message: string, fields: LogFields = {}): void {
    this.lines.push({ level: "debug", message, fields });
  }

  info(message: string, fields: LogFields = {}): void {
    this.lines.push({ level: "info", message, fields });
  }

  warn(message: string, fields: LogFields = {}): void {
    this.lines.push({ level: "warn", message, fields });
  }

  error(message: string, fields: LogFields = {}): void {
    this.lines.push({ level: "error", message, fields });
  }

  with(): Logger {
    return this;
  }

  of(level: LogLevel): readonly LogLine[] {
    return this.lines.filter((line) => line.level === level);
  }
}

/** Waits until `condition` holds; an error that says `what` when it does not come to that. */
export async function until(
  what: string,
  condition: () => boolean,
  limitMs = 10_000,
): Promise<void> {
  const end = performance.now() + limitMs;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`waited ${limitMs} ms for: ${what}`);
    await sleep(5);
  }
}
