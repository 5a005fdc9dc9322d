/** davit as a systemd service in the machine: its configuration, its client, and facts from systemd and the kernel. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { stringify } from "smol-toml";
import { CriClient } from "../../../src/client/cri-client.ts";
import {
  type ContainerConfigSchema,
  ContainerState,
  type ContainerStatus,
  type PodSandboxConfig,
} from "../../../src/gen/runtime/v1/api_pb.ts";
import { bridgeConflist, writeConflist } from "../../support/cni.ts";
import { busyboxLayer, imageOf, type TestImage } from "../../support/images.ts";
import { TestRegistry } from "../../support/registry.ts";

export const image = "registry.k8s.io/e2e/busybox:1";
export const client = new CriClient("unix:///run/davit/davit.sock");
let registry: TestRegistry;

/** Writes davit's configuration, and starts the service with it. */
export async function startService(runtime: Readonly<Record<string, string>>): Promise<void> {
  registry = await TestRegistry.start();
  await registry.push("e2e/busybox", imageOf([busyboxLayer()], { Env: ["PATH=/bin"] }), ["1"]);
  writeConflist("/etc/cni/net.d", "10-test.conflist", bridgeConflist({ ipamDir: "/run/ipam" }));
  configure(runtime);
  // Returns when davit has said that it is ready: Type=notify.
  run("systemctl", "restart", "davit.service");
  await answers();
  await client.image.pullImage({ image: { image } });
}

/** Gives the service another image. */
export async function addImage(name: string, added: TestImage): Promise<void> {
  const [, repository = "", tag = ""] = /^registry\.k8s\.io\/(.*):(.*)$/.exec(name) ?? [];
  await registry.push(repository, added, [tag]);
  await client.image.pullImage({ image: { image: name } });
}

export function configure(runtime: Readonly<Record<string, string>>): void {
  mkdirSync("/etc/davit", { recursive: true });
  const config = { images: { registry_config_path: registry.certsDir }, runtime };
  writeFileSync("/etc/davit/davit.toml", stringify(config));
}

/** The service stays. */
export async function endClient(): Promise<void> {
  client[Symbol.dispose]();
  await registry[Symbol.asyncDispose]();
}

export function run(command: string, ...args: readonly string[]): string {
  return execFileSync(command, args, { encoding: "utf8" }).trim();
}

/** A property of a unit; davit's if no other is named. */
export function property(name: string, unit = "davit.service"): string {
  return run("systemctl", "show", "--value", `--property=${name}`, unit);
}

export function read(file: string): string {
  return readFileSync(file, "utf8").trim();
}

/** A file of a cgroup. */
export function limit(cgroup: string, file: string): string {
  return read(`/sys/fs/cgroup${cgroup}/${file}`);
}

export function cgroupExists(cgroup: string): boolean {
  return existsSync(`/sys/fs/cgroup${cgroup}`);
}

/** Polls until the condition is true, with deadlines for an emulated machine. */
export async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 300_000;
  while (!(await isSo())) {
    assert.ok(Date.now() < deadline, `waited five minutes: ${what}`);
    await sleep(100);
  }
}

/** The first call may still use the connection to the previous daemon, whose end has not been read. */
export function answers(): Promise<void> {
  return until("davit answers", () => {
    return client.runtime.version({}).then(
      () => true,
      () => false,
    );
  });
}

/** Creates and starts a container of the test's image. It sleeps unless the options say otherwise. */
export async function start(
  podSandboxId: string,
  sandboxConfig: PodSandboxConfig,
  changes: MessageInitShape<typeof ContainerConfigSchema> = {},
): Promise<string> {
  const namespaceOptions = sandboxConfig.linux?.securityContext?.namespaceOptions;
  const { containerId } = await client.runtime.createContainer({
    podSandboxId,
    sandboxConfig,
    config: {
      metadata: { name: `c${++count}`, attempt: 0 },
      image: { image },
      command: ["/bin/sleep", "100000"],
      ...changes,
      // As kubelet does it: the namespaces of the pod.
      linux: {
        securityContext: { ...(namespaceOptions && { namespaceOptions }) },
        ...changes.linux,
      },
    } as MessageInitShape<typeof ContainerConfigSchema>,
  });
  await client.runtime.startContainer({ containerId });
  return containerId;
}
let count = 0;

export async function pidOf(containerId: string): Promise<number> {
  const { info } = await client.runtime.containerStatus({ containerId, verbose: true });
  const { pid } = JSON.parse(info["info"] ?? "{}") as { readonly pid?: number };
  assert.ok(pid !== undefined && pid > 0);
  return pid;
}

/** The container's status when it has ended. */
export async function exited(containerId: string): Promise<ContainerStatus> {
  let found: ContainerStatus | undefined;
  await until(`container ${containerId} ends`, async () => {
    found = (await client.runtime.containerStatus({ containerId })).status;
    return found?.state === ContainerState.CONTAINER_EXITED;
  });
  assert.ok(found !== undefined);
  return found;
}

/** Output and exit code of a command in the container. */
export async function execIn(
  containerId: string,
  script: string,
): Promise<{ readonly output: string; readonly exitCode: number }> {
  const cmd = ["sh", "-c", script];
  const { stdout, stderr, exitCode } = await client.runtime.execSync({ containerId, cmd });
  return { output: Buffer.concat([stdout, stderr]).toString().trim(), exitCode };
}

export async function removePod(podSandboxId: string): Promise<void> {
  await client.runtime.stopPodSandbox({ podSandboxId });
  await client.runtime.removePodSandbox({ podSandboxId });
}

/** Units and cgroups of containers and of davit's own pods, whatever their state. */
export function oursLeft(): readonly string[] {
  const list = ["list-units", "--all", "--plain", "--no-legend"];
  const units = run("systemctl", ...list, "cri-containerd-*", "davit-*.slice");
  const directories = readdirSync("/sys/fs/cgroup", { recursive: true, encoding: "utf8" });
  return [
    ...units.split("\n").filter((line) => line !== ""),
    ...directories.filter((directory) =>
      /(cri-containerd-[^/]*|davit-[^/]*\.slice)$/.test(directory),
    ),
  ];
}
