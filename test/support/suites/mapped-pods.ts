/** A daemon for pods in a user namespace of their own, with images whose files have various owners. */
import { chmodSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before } from "node:test";
import type { TestDaemon } from "../daemon.ts";
import { busyboxLayer, imageOf, layerOf } from "../images.ts";
import { type ContainerInit, container, inPod, Node, type Pod, pull, runIn } from "./containers.ts";
import { leakless, mapped, type Modes, openDirectories, pod, withPod } from "./pods.ts";

/** An image with files of 1000:2000. */
export const image = "registry.k8s.io/e2e/owners:1";
/** An image of one layer that declares volumes. */
export const declaring = "registry.k8s.io/e2e/declaring:1";
/** An image without layers. */
export const nothing = "registry.k8s.io/e2e/nothing:1";

let node: Node;
/** A daemon with these images. */
export let daemon: TestDaemon;
export const served = (): TestDaemon => daemon;
/** A directory for volumes, which all users may enter. */
export const directory = mkdtempSync(path.join(tmpdir(), "davit-users-"));

/** Starts the daemon before the tests of a file, and ends it after. */
export function serveMappedPods(): void {
  before(async () => {
    node = await Node.startWithBusybox({
      config: { runtime: { handlers: { runc: { path: "runc" } } } },
    });
    daemon = node.daemon;
    const layers = [
      busyboxLayer("gzip", [{ path: "data/", uid: 1000, gid: 2000 }]),
      ...["a", "b", "c"].map((name) =>
        layerOf([
          { path: "data/", uid: 1000, gid: 2000 },
          { path: `data/${name}`, body: name, uid: 1000, gid: 2000 },
        ]),
      ),
    ];
    await node.registry.push("e2e/owners", imageOf(layers, { Cmd: ["sh"] }), ["1"]);
    await pull(daemon, image);
    const kept = [
      { path: "kept/", uid: 7, gid: 8 },
      { path: "kept/file", body: "", uid: 7, gid: 8 },
    ];
    const single = imageOf([busyboxLayer("gzip", kept)], {
      Cmd: ["sh"],
      Volumes: { "/kept": {}, "/made": {} },
    });
    await node.registry.push("e2e/declaring", single, ["1"]);
    await pull(daemon, declaring);
    await node.registry.push("e2e/nothing", imageOf([], {}), ["1"]);
    await pull(daemon, nothing);
    // The first pod creates the bridge.
    await withPod(daemon, pod(), async () => undefined);
    openDirectories(daemon);
    chmodSync(directory, 0o755);
  });
  after(async () => {
    await node[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true });
  });
}

/** The body of a test with one running container in such a pod. */
export function running(
  config: () => ContainerInit,
  look: (id: string, pod: Pod) => Promise<void>,
  modes: Modes = {},
): ReturnType<typeof leakless> {
  return leakless(served, () =>
    inPod(daemon, mapped(modes), async (pod) => {
      await look(await runIn(pod, config()), pod);
    }),
  );
}

/** A container of the first image. */
export const owners = (): ContainerInit => container({ image: { image } });
/** The real user and group of a process on the node. */
export const idsOf = (pid: number): readonly string[] =>
  ["Uid", "Gid"].map(
    (name) =>
      new RegExp(`^${name}:\\s*(\\d+)`, "m").exec(
        readFileSync(`/proc/${pid}/status`, "utf8"),
      )?.[1] ?? "",
  );
