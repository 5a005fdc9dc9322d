import assert from "node:assert/strict";
import { test } from "node:test";
import { NamespaceMode } from "../../src/gen/runtime/v1/api_pb.ts";
import { testMark } from "./belongs.ts";
import { podConfig } from "./pod.ts";

test("podConfig() gives each pod names and a cgroup parent of its own", () => {
  const [first, second] = [podConfig(), podConfig()];
  assert.notEqual(first.metadata?.name, second.metadata?.name);
  assert.notEqual(first.metadata?.uid, second.metadata?.uid);
  assert.notEqual(first.linux?.cgroupParent, second.linux?.cgroupParent);
  assert.ok(first.linux?.cgroupParent.startsWith(`/${testMark}`));
  const modes = first.linux?.securityContext?.namespaceOptions;
  assert.equal(modes?.pid, NamespaceMode.CONTAINER);
  assert.equal(modes.network, NamespaceMode.POD);
});

test("podConfig() replaces whole fields", () => {
  const pod = podConfig({ hostname: "other", linux: { cgroupParent: "/x" } });
  assert.equal(pod.hostname, "other");
  assert.equal(pod.linux?.securityContext, undefined);
});
