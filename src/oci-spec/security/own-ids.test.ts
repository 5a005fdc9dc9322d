import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type ContainerConfig,
  ContainerConfigSchema,
  MountPropagation,
} from "../../gen/runtime/v1/api_pb.ts";
import { nodeIdsOfContainer } from "./own-ids.ts";

type Init = Exclude<MessageInitShape<typeof ContainerConfigSchema>, ContainerConfig>;
const root = { uid: 0n, gid: 0n, supplementalGroups: [] };
const of = (init: Init, user = root, cdi = false): string | undefined =>
  nodeIdsOfContainer(create(ContainerConfigSchema, init), user, { cdi, length: 1000 });
const adding = (...addCapabilities: readonly string[]): Init => ({
  linux: { securityContext: { capabilities: { addCapabilities: [...addCapabilities] } } },
});

test("nodeIdsOfContainer() finds nothing in a container that stays in its namespaces", () => {
  assert.equal(of({}), undefined);
  assert.equal(of(adding("NET_ADMIN", "CAP_SYS_PTRACE", "chown")), undefined);
  assert.equal(of({ mounts: [{ hostPath: "/a", containerPath: "/a" }] }), undefined);
  assert.equal(of({}, { uid: 999n, gid: 999n, supplementalGroups: [] }), undefined);
});

test("nodeIdsOfContainer() names what acts on the node", () => {
  assert.match(of({ devices: [{ hostPath: "/dev/fuse" }] }) ?? "", /devices/);
  assert.match(of({}, root, true) ?? "", /devices/);
  for (const name of ["SYS_ADMIN", "CAP_SYS_TIME", "sys_module", "ALL"]) {
    assert.match(of(adding(name)) ?? "", new RegExp(`capability "${name}"`));
  }
  const propagation = MountPropagation.PROPAGATION_BIDIRECTIONAL;
  assert.match(of({ mounts: [{ containerPath: "/m", propagation }] }) ?? "", /"\/m"/);
  assert.match(of({}, { ...root, uid: 1000n }) ?? "", /id 1000,/);
  assert.match(of({}, { ...root, gid: 5000n }) ?? "", /id 5000,/);
});
