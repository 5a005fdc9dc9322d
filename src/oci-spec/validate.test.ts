/* eslint-disable @typescript-eslint/no-deprecated -- clients still send the old fields */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type ErrorKind, isKind } from "../base/errors.ts";
import { NamespaceMode, SecurityProfile_ProfileType } from "../gen/runtime/v1/api_pb.ts";
import type { Signal, SupplementalGroupsPolicy } from "../gen/runtime/v1/api_pb.ts";
import { type ConfigInit, containerConfig, podConfig, testHost } from "./testing/spec-input.ts";
import { goldenRequests } from "./testing/golden-requests.ts";
import { checkContainerConfig } from "./validate.ts";

type Security = NonNullable<NonNullable<ConfigInit["linux"]>["securityContext"]>;
const security = (securityContext: Security): ConfigInit => ({ linux: { securityContext } });

test("checkContainerConfig() lets every golden request through", () => {
  for (const [name, input] of Object.entries(goldenRequests)) {
    assert.doesNotThrow(
      () => checkContainerConfig(input.config, input.sandbox.config, input.host),
      name,
    );
  }
});

test("checkContainerConfig() refuses what cannot be meant, naming the field", () => {
  const bad: readonly (readonly [ConfigInit, RegExp, ErrorKind?])[] = [
    [{ metadata: {} }, /metadata.name is empty/],
    [{ image: {} }, /image is missing/],
    [{ workingDir: "srv" }, /working_dir must be absolute, got "srv"/],
    [{ stopSignal: 99 as Signal }, /stop_signal is 99/],
    [{ logPath: "../x" }, /log_path/],
    [{ envs: [{ key: "", value: new Uint8Array() }] }, /envs/],
    [{ mounts: [{ hostPath: "/h" }] }, /mounts/],
    [{ devices: [{ hostPath: "/dev/x", permissions: "x" }] }, /devices/],
    [{ linux: { resources: { cpuShares: -1n } } }, /cpu_shares/],
    [security({ namespaceOptions: { network: NamespaceMode.CONTAINER } }), /network cannot be/],
    [security({ privileged: true }), /the pod is not privileged/],
    [security({ runAsGroup: { value: 1n } }), /run_as_group needs run_as_user/],
    [security({ runAsUser: { value: 1n }, runAsUsername: "a" }), /only one of them/],
    [security({ runAsUser: { value: -1n } }), /run_as_user must be 0 to 4294967294, got -1/],
    [
      security({ runAsUser: { value: 1n }, runAsGroup: { value: 4294967295n } }),
      /run_as_group must/,
    ],
    [security({ supplementalGroups: [-5n] }), /supplemental_groups must/],
    [
      security({ supplementalGroupsPolicy: 7 as SupplementalGroupsPolicy }),
      /supplemental_groups_policy is 7/,
    ],
    [security({ capabilities: { addCapabilities: ["FLY"] } }), /CAP_FLY/],
    [security({ seccompProfilePath: "x" }), /seccomp_profile_path/],
    [
      security({ apparmor: { profileType: SecurityProfile_ProfileType.Localhost } }),
      /apparmor.localhost_ref is empty/,
    ],
    [{ windows: {} }, /windows is set/],
    [{ CDIDevices: [{ name: "v/c" }] }, /CDI_devices: .*vendor\/class=name, got "v\/c"/],
    [{ annotations: { "cdi.k8s.io/x": "d" } }, /annotation "cdi.k8s.io\/x"/],
    [
      security({ namespaceOptions: { usernsOptions: { mode: NamespaceMode.POD } } }),
      /userns_options is not that of the pod/,
    ],
  ];
  for (const [init, why, kind = "invalid-argument"] of bad) {
    assert.throws(
      () => checkContainerConfig(containerConfig(init), podConfig(), testHost),
      (error) => isKind(error, kind) && why.test(String(error)),
      String(why),
    );
  }
  assert.throws(() => checkContainerConfig(undefined, podConfig(), testHost), /config is missing/);
  const bare = containerConfig();
  delete bare.metadata;
  assert.throws(() => checkContainerConfig(bare, podConfig(), testHost), /metadata is missing/);
});

test("checkContainerConfig() takes a group with a user or a user name", () => {
  const runAsGroup = { value: 5n };
  for (const user of [{ runAsUser: { value: 1n } }, { runAsUsername: "nobody" }]) {
    const config = containerConfig(security({ runAsGroup, ...user }));
    assert.equal(checkContainerConfig(config, podConfig(), testHost), config);
  }
});

test("checkContainerConfig() keeps a log below the pod's log directory", () => {
  const check = (logPath: string, logDirectory = "/var/log/pods/p"): unknown =>
    checkContainerConfig(containerConfig({ logPath }), podConfig({ logDirectory }), testHost);
  for (const path of ["", "web/0.log", "a/../0.log", "/0.log"]) check(path);
  check("", "");
  check("0.log", "/");
  for (const path of ["..", "../x", "a/../../p2/x", ".", "a/..", "dir/", "a\0b"]) {
    assert.throws(
      () => check(path),
      (error) => isKind(error, "invalid-argument"),
      path,
    );
  }
  assert.throws(() => check("0.log", ""), /has no log_directory/);
});
