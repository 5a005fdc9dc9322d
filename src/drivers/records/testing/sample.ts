import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { create, toBinary } from "@bufbuild/protobuf";
import type { Digest } from "../../../base/digest.ts";
import type { LogFields, Logger, LogLevel } from "../../../base/logger.ts";
import type { Container, ContainerUser } from "../../../core/container/index.ts";
import type { Image, ImageConfig, ImageLayer } from "../../../core/image/index.ts";
import type { Attachment } from "../../../core/network/index.ts";
import { type Sandbox, withOwnIds } from "../../../core/sandbox/index.ts";
import {
  ContainerConfigSchema,
  CreateContainerRequestSchema,
  LinuxContainerResourcesSchema,
  PodSandboxConfigSchema,
  RunPodSandboxRequestSchema,
  UpdatePodSandboxResourcesRequestSchema,
} from "../../../gen/runtime/v1/api_pb.ts";

const sampleImageConfig: Required<ImageConfig> = {
  entrypoint: ["/bin/sh", "-c"],
  cmd: ["sleep", ""],
  env: ["PATH=/bin", "EMPTY="],
  workingDir: "/work",
  user: "1000:users",
  stopSignal: "SIGQUIT",
  volumes: ["/data"],
  labels: JSON.parse('{"a.b/c":"d","__proto__":"e"}') as Record<string, string>,
};

function requestedConfig(id: string): Sandbox["config"] {
  return create(PodSandboxConfigSchema, {
    metadata: { name: `pod-${id}`, namespace: "default", uid: `uid-${id}`, attempt: 2 },
    hostname: "h",
    annotations: { key: "value" },
    linux: { cgroupParent: "/kubepods/pod1" },
  });
}

/** A sandbox with every field: a new one does not compile until it is here. */
export function fullSandbox(id: string): Required<Sandbox> {
  const config = requestedConfig(id);
  const range = { hostId: 1_879_048_192, length: 65_536 };
  const request = create(RunPodSandboxRequestSchema, { config, runtimeHandler: "crun" });
  return {
    id,
    name: `pod-${id}_default_uid-${id}_2`,
    requestBytes: toBinary(RunPodSandboxRequestSchema, request),
    config: withOwnIds(config, range),
    ownIds: { range, reason: "a container needs them", inherited: true },
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
    selinux: {
      process: "system_u:system_r:container_t:s0:c1,c2",
      mount: "system_u:object_r:container_file_t:s0:c1,c2",
    },
    unfinished: true,
  };
}

/** A sandbox with nothing that may be absent. */
export function bareSandbox(id: string): Sandbox {
  const { name, requestBytes, bootId } = fullSandbox(id);
  return {
    id,
    name,
    requestBytes,
    config: requestedConfig(id),
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

/** A digest whose digits are all `digit`. */
export function sampleDigest(digit: string): Digest {
  return `sha256:${digit.repeat(64)}`;
}

/** A container with every field, all of them unlike the defaults; its resources were updated. */
export function fullContainer(id: string): Required<Container> {
  const config = create(ContainerConfigSchema, {
    metadata: { name: `ctr-${id}`, attempt: 3 },
    image: { image: "busybox", userSpecifiedImage: "busybox:latest" },
    command: ["sh", "-c"],
    envs: [{ key: "KEY", value: Uint8Array.of(0x76, 0xff, 0) }],
    annotations: { key: "value" },
    logPath: "ctr/3.log",
    linux: { resources: { cpuShares: 2n, memoryLimitInBytes: 1n << 40n } },
  });
  const request = create(CreateContainerRequestSchema, {
    podSandboxId: `pod-of-${id}`,
    config,
    sandboxConfig: { hostname: "h", metadata: { name: "pod" } },
  });
  const user: Required<ContainerUser> = {
    uid: 4_294_967_294n,
    gid: 9_007_199_254_740_993n,
    supplementalGroups: [5n, 9_007_199_254_740_995n],
  };
  return {
    id,
    name: `ctr-${id}_3_pod-${id}_default_uid-${id}_2`,
    sandboxId: `pod-of-${id}`,
    requestBytes: toBinary(CreateContainerRequestSchema, request),
    config,
    resources: create(LinuxContainerResourcesSchema, {
      cpuShares: 5n,
      memoryLimitInBytes: 9_007_199_254_740_993n,
      unified: { "memory.high": "max" },
    }),
    image: {
      id: sampleDigest("a"),
      requested: "busybox",
      shown: "docker.io/library/busybox:latest",
      ref: `docker.io/library/busybox@${sampleDigest("b")}`,
      layers: [sampleDigest("d"), sampleDigest("c")],
      config: sampleImageConfig,
    },
    imageVolumes: [
      {
        image: sampleDigest("e"),
        layers: [sampleDigest("1"), sampleDigest("2")],
      },
    ],
    volumes: ["/data"],
    user,
    stopSignal: "SIGQUIT",
    logPath: "/var/log/pods/p/ctr/3.log",
    hasLog: true,
    cgroupPath: `/kubepods/pod1/davit-${id}`,
    adjustment: new Uint8Array([10, 0, 255]),
    restore: {
      directory: "/var/lib/davit/checkpoints/restores/c",
      owned: true,
      closeTcp: false,
      changes: sampleDigest("c"),
    },
    pausedForCheckpoint: true,
    createdAtNs: 1_764_000_000_123_456_789n,
    bootId: "0d4f6b1e-0000-4000-8000-000000000000",
    state: { name: "created" },
  };
}

/** A container with nothing that may be absent. */
export function bareContainer(id: string): Container {
  const config = create(ContainerConfigSchema, { metadata: { name: "c" } });
  const request = create(CreateContainerRequestSchema, { config });
  return {
    ...fullContainer(id),
    requestBytes: toBinary(CreateContainerRequestSchema, request),
    config,
    resources: undefined,
    image: {
      id: sampleDigest("a"),
      requested: "",
      shown: "",
      ref: "",
      layers: [],
      config: sampleImageConfig,
    },
    imageVolumes: [],
    volumes: [],
    user: { uid: 0n, gid: 0n, supplementalGroups: [] },
    hasLog: false,
    state: { name: "creating" },
  };
}

/** An image with every field, all of them unlike the defaults. Its id is all `digit`. */
export function fullImage(digit: string): Required<Image> {
  const layer: Required<ImageLayer> = {
    diffId: sampleDigest("d"),
    digest: sampleDigest("e"),
    sizeBytes: 9_007_199_254_740_993n,
  };
  const config = sampleImageConfig;
  return {
    id: sampleDigest(digit),
    repoTags: [`docker.io/library/busybox:${digit}`, "registry.example:5000/b:1"],
    repoDigests: [`docker.io/library/busybox@${sampleDigest(digit)}`],
    sizeBytes: 9_007_199_254_740_995n,
    layers: [layer, { ...layer, diffId: sampleDigest("f"), sizeBytes: 0n }],
    config,
    configJson: '{ "architecture": "amd64", "author": "\\u0000 \u00e9 \ud83d\ude00" }\n',
    pinned: true,
    artifactType: "application/vnd.cncf.model.manifest.v1+json",
    checkpointOf: "counter",
  };
}

/** An image with nothing that may be empty. */
export function bareImage(digit: string): Image {
  return {
    id: sampleDigest(digit),
    repoTags: [],
    repoDigests: [],
    sizeBytes: 0n,
    layers: [],
    config: {
      entrypoint: [],
      cmd: [],
      env: [],
      workingDir: "",
      user: "",
      stopSignal: "",
      volumes: [],
      labels: {},
    },
    configJson: "",
    pinned: false,
  };
}

/** A directory that goes away with the test. */
export function temporaryDirectory(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), "davit-records-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** A line that a {@link MemoryLogger} took. */
interface LogLine {
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

/** Waits until `condition` holds; an error with `what` when that does not happen. */
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
