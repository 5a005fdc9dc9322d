import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { isKind } from "../../base/errors.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import { ContainerConfigSchema, PodSandboxConfigSchema } from "../../gen/runtime/v1/api_pb.ts";
import { Selinux } from "./selinux.ts";

const directory = mkdtempSync(join(tmpdir(), "davit-selinux-"));
after(() => rmSync(directory, { recursive: true }));

const contexts =
  'process = "system_u:system_r:container_t:s0"\nfile = "system_u:object_r:container_file_t:s0"\n';
const enforcing = { "sys/fs/selinux/enforce": "1", "sys/fs/selinux/context": "" };
const config = { "etc/selinux/config": "SELINUX=enforcing\nSELINUXTYPE=targeted\n" };
const policy = { "etc/selinux/targeted/contexts/lxc_contexts": contexts };

let count = 0;
/** A root with these files. */
function hostWith(files: Readonly<Record<string, string>>): string {
  const root = join(directory, String(count++));
  mkdirSync(root);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return root;
}

const podConfig = create(PodSandboxConfigSchema);

test("Selinux takes the labels of the host's policy, container-selinux' own first", () => {
  const host = hostWith({ ...enforcing, ...config, ...policy });
  const { process } = Selinux.open(host).choose(podConfig, []);
  assert.match(process, /^system_u:system_r:container_t:s0:c\d+,c\d+$/);
  const own = contexts.replace("container_t", "own_t");
  const files = {
    ...enforcing,
    ...config,
    ...policy,
    "usr/share/containers/selinux/contexts": own,
  };
  assert.match(Selinux.open(hostWith(files)).choose(podConfig, []).process, /:own_t:/);
});

test("Selinux is refused on a host without it, and without a policy for containers", () => {
  for (const [files, why] of [
    [{}, /SELinux is off on this host.*set it to false/],
    [{ ...config, ...policy }, /SELinux is off on this host/],
    [{ ...enforcing, ...config }, /no labels for containers.*install container-selinux/],
    [enforcing, /no labels for containers/],
  ] as const) {
    assert.throws(
      () => Selinux.open(hostWith(files)),
      (error) => isKind(error, "failed-precondition") && why.test(String(error)),
    );
  }
});

test("Selinux gives each of many pods a level of its own", () => {
  const selinux = Selinux.open(hostWith({ ...enforcing, ...config, ...policy }));
  const pods: Sandbox[] = [];
  for (let pod = 0; pod < 200; pod++) {
    pods.push({ selinux: selinux.choose(podConfig, pods) } as Sandbox);
  }
  assert.equal(new Set(pods.map((pod) => pod.selinux?.process)).size, 200);
});

test("Selinux asks the kernel about the labels of a container", () => {
  const host = hostWith({ ...enforcing, ...config, ...policy });
  const selinux = Selinux.open(host);
  const asked = join(host, "sys/fs/selinux/context");
  const container = create(ContainerConfigSchema, {
    linux: { securityContext: { privileged: true } },
  });
  selinux.check(container, { config: podConfig } as Sandbox);
  assert.equal(readFileSync(asked, "utf8"), "");
  const labels = { process: "u:r:t:s0", mount: "u:o:f:s0" };
  selinux.check(container, { config: podConfig, selinux: labels } as Sandbox);
  assert.equal(readFileSync(asked, "utf8"), "u:o:f:s0");
});
