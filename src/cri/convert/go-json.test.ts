import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import {
  ContainerConfigSchema,
  MountPropagation,
  NamespaceMode,
} from "../../gen/runtime/v1/api_pb.ts";
import { goJson } from "./go-json.ts";

test("goJson() writes a message as Go's encoding/json writes its struct", () => {
  const config = create(ContainerConfigSchema, {
    metadata: { name: "web", attempt: 0 },
    args: ["a", ""],
    envs: [{ key: "A", value: Buffer.from([0xff, 0x41]) }],
    mounts: [
      {
        containerPath: "/a",
        propagation: MountPropagation.PROPAGATION_BIDIRECTIONAL,
        uidMappings: [{ hostId: 4_294_967_295, length: 1 }],
      },
    ],
    labels: { b: "", a: "1" },
    linux: {
      resources: { memoryLimitInBytes: 9_007_199_254_740_993n, cpuQuota: -1n },
      securityContext: {
        runAsUser: { value: 0n },
        namespaceOptions: { pid: NamespaceMode.CONTAINER },
        supplementalGroups: [1n, 2n],
      },
    },
  });
  assert.equal(
    JSON.stringify(goJson(ContainerConfigSchema, config)),
    '{"metadata":{"name":"web"},"args":["a",""],"envs":[{"key":"A","value":"\ufffdA"}],' +
      '"mounts":[{"container_path":"/a","propagation":2,"uidMappings":[{"host_id":4294967295,"length":1}]}],' +
      '"labels":{"b":"","a":"1"},"linux":{"resources":{"cpu_quota":-1,"memory_limit_in_bytes":9007199254740993},' +
      '"security_context":{"namespace_options":{"pid":1},"run_as_user":{},"supplemental_groups":[1,2]}}}',
  );
});
