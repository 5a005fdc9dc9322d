import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { ContainerConfigSchema } from "../../gen/runtime/v1/api_pb.ts";
import { type Container, ContainerStore } from "./index.ts";

function container(id: string, sandboxId: string): Container {
  const digest = `sha256:${"a".repeat(64)}` as const;
  const config = { entrypoint: [], cmd: [], env: [], workingDir: "", user: "" };
  return {
    id,
    name: `name-of-${id}`,
    sandboxId,
    requestBytes: new Uint8Array(),
    config: create(ContainerConfigSchema),
    resources: undefined,
    image: {
      id: digest,
      requested: "",
      shown: "",
      ref: "",
      layers: [],
      config: { ...config, stopSignal: "", volumes: [], labels: {} },
    },
    imageVolumes: [],
    volumes: [],
    user: { uid: 0n, gid: 0n, supplementalGroups: [] },
    stopSignal: "SIGTERM",
    logPath: "/log",
    hasLog: false,
    cgroupPath: `/davit/${id}`,
    createdAtNs: 1n,
    bootId: "boot",
    state: { name: "creating" },
  };
}

test("listedOf() has the listed containers of one sandbox, oldest first, with their current state", () => {
  const store = new ContainerStore({ put: () => undefined, delete: () => undefined });
  const ids = (sandboxId: string): readonly string[] =>
    [...store.listedOf(sandboxId)].map(({ id }) => id);
  for (const [id, sandboxId] of [
    ["a1", "a"],
    ["b1", "b"],
    ["a2", "a"],
  ] as const) {
    store.add(container(id, sandboxId));
  }
  assert.deepEqual(ids("a"), [], "none is listed yet");
  for (const id of ["a1", "b1", "a2"]) store.list(id);
  assert.deepEqual(ids("a"), ["a1", "a2"]);
  store.update("a1", (now) => ({ ...now, state: { name: "created" } }));
  assert.deepEqual(ids("a"), ["a1", "a2"]);
  assert.equal([...store.listedOf("a")][0]?.state.name, "created");
  store.remove("a1");
  assert.deepEqual(ids("a"), ["a2"]);
  store.remove("b1");
  assert.deepEqual(ids("b"), []);
  assert.deepEqual(ids("unknown"), []);
});
