import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { isKind } from "../../base/errors.ts";
import { ContainerAdjustmentSchema } from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import {
  ContainerConfigSchema,
  type LinuxContainerSecurityContextSchema,
  NamespaceMode,
  PodSandboxConfigSchema,
  SELinuxOptionSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import {
  containerLabels,
  parseSelinuxContexts,
  podLabels,
  relabelPaths,
  selinuxPolicy,
} from "./selinux.ts";

const defaults = {
  process: "system_u:system_r:container_t:s0",
  file: "system_u:object_r:container_file_t:s0",
};
const pod = {
  process: "system_u:system_r:container_t:s0:c1,c2",
  mount: "system_u:object_r:container_file_t:s0:c1,c2",
};
const options = (init: MessageInitShape<typeof SELinuxOptionSchema>) =>
  create(SELinuxOptionSchema, init);
const isInvalid = (error: unknown): boolean => isKind(error, "invalid-argument");

/** Draws these numbers, one after another. */
function draws(...numbers: readonly number[]): (below: number) => number {
  const left = [...numbers];
  return (below) => {
    const next = left.shift();
    assert.ok(next !== undefined && next < below);
    return next;
  };
}
const none = draws();

test("selinuxPolicy() reads the type and skips comments and blanks", () => {
  const text = '# SELINUXTYPE=no\n; SELINUXTYPE=no\nSELINUX=enforcing\nSELINUXTYPE = "targeted" \n';
  assert.equal(selinuxPolicy(text), "targeted");
  assert.equal(selinuxPolicy("SELINUX=disabled\n"), undefined);
  assert.equal(selinuxPolicy(""), undefined);
});

test("parseSelinuxContexts() reads the labels of processes and files", () => {
  const text = `# of container-selinux\nprocess = "${defaults.process}"\ncontent = "x:y:z:s0"\nfile="${defaults.file}"\n`;
  assert.deepEqual(parseSelinuxContexts(text, "/contexts"), defaults);
  for (const bad of ["", text.replace("file=", "files="), text.replace("container_t", "")]) {
    assert.throws(
      () => parseSelinuxContexts(bad, "/contexts"),
      (error) => isKind(error, "failed-precondition") && /"\/contexts"/.test(String(error)),
    );
  }
});

test("podLabels() gives two categories that differ, in order, and that no pod has", () => {
  assert.deepEqual(podLabels(undefined, defaults, [], draws(2, 1)), pod);
  assert.deepEqual(podLabels(options({}), defaults, [], draws(5, 5, 1023, 0)), {
    process: "system_u:system_r:container_t:s0:c0,c1023",
    mount: "system_u:object_r:container_file_t:s0:c0,c1023",
  });
  assert.equal(
    podLabels(undefined, defaults, [pod], draws(1, 2, 2, 1, 3, 4)).process,
    "system_u:system_r:container_t:s0:c3,c4",
  );
});

test("podLabels() gives up when it finds no free level", () => {
  const same = (): number => 7;
  assert.throws(
    () => podLabels(undefined, defaults, [], same),
    (error) => isKind(error, "resource-exhausted"),
  );
});

test("podLabels() takes what the request names; user and level are those of the files, too", () => {
  const wanted = options({ user: "u_u", role: "r_r", type: "my.type_t", level: "s0:c3,c4" });
  assert.deepEqual(podLabels(wanted, defaults, [], none), {
    process: "u_u:r_r:my.type_t:s0:c3,c4",
    mount: "u_u:object_r:container_file_t:s0:c3,c4",
  });
  assert.equal(
    podLabels(options({ type: "spc_t" }), defaults, [], draws(1, 2)).process,
    "system_u:system_r:spc_t:s0:c1,c2",
  );
});

test("podLabels() gives no level where the policy has none", () => {
  const plain = { process: "u:r:container_t", file: "u:object_r:container_file_t" };
  assert.deepEqual(podLabels(undefined, plain, [], none), {
    process: "u:r:container_t",
    mount: "u:object_r:container_file_t",
  });
});

test("podLabels() takes levels and ranges, and refuses what is none", () => {
  const of = (level: string): string =>
    podLabels(options({ level }), defaults, [], none).process.replace(/^.*container_t:/, "");
  for (const level of [
    "s0",
    "s0:c1",
    "s0:c0.c1023",
    "s0:c1,c3.c5",
    "s0-s0:c0.c1023",
    "s1:c1-s2:c1",
  ])
    assert.equal(of(level), level);
  for (const level of [
    "c1",
    "s0:",
    "s0,c1,c2",
    "s0:c1,",
    "s0:c12345",
    "s0 ",
    's0",x="',
    "s0:c1:c2",
  ])
    assert.throws(() => of(level), isInvalid, level);
  for (const bad of [{ type: "a:b" }, { user: 'a"' }, { role: "a b" }, { type: "a\n" }])
    assert.throws(() => podLabels(options(bad), defaults, [], none), isInvalid);
});

type Init = Omit<MessageInitShape<typeof LinuxContainerSecurityContextSchema>, "$typeName">;
const container = (securityContext: Init = {}) =>
  create(ContainerConfigSchema, { linux: { securityContext } });
const sandbox = (ipc: NamespaceMode = NamespaceMode.POD) => ({
  config: create(PodSandboxConfigSchema, {
    linux: { securityContext: { namespaceOptions: { ipc } } },
  }),
  selinux: pod,
});

test("containerLabels() gives the pod's labels, also where the request leaves parts out", () => {
  assert.deepEqual(containerLabels(create(ContainerConfigSchema), sandbox()), pod);
  assert.deepEqual(containerLabels(container(), sandbox()), pod);
  assert.deepEqual(containerLabels(container({ selinuxOptions: { type: "spc_t" } }), sandbox()), {
    process: "system_u:system_r:spc_t:s0:c1,c2",
    mount: pod.mount,
  });
  const other = { user: "u_u", level: "s0:c8,c9" };
  assert.deepEqual(containerLabels(container({ selinuxOptions: other }), sandbox()), {
    process: "u_u:system_r:container_t:s0:c8,c9",
    mount: "u_u:object_r:container_file_t:s0:c8,c9",
  });
  const bad = container({ selinuxOptions: { level: "s0,c1,c2" } });
  assert.throws(() => containerLabels(bad, sandbox()), isInvalid);
});

test("containerLabels() leaves out what is not to be kept apart", () => {
  assert.deepEqual(containerLabels(container({ privileged: true }), sandbox()), {
    mount: pod.mount,
  });
  const hostPid = container({ namespaceOptions: { pid: NamespaceMode.NODE } });
  assert.equal(containerLabels(hostPid, sandbox()), undefined);
  assert.equal(containerLabels(container(), sandbox(NamespaceMode.NODE)), undefined);
  const { config } = sandbox();
  assert.equal(containerLabels(container(), { config }), undefined);
});

test("containerLabels() reads no options where the pod has no labels", () => {
  const { config } = sandbox();
  const bad = container({ selinuxOptions: { level: "nonsense" } });
  assert.equal(containerLabels(bad, { config }), undefined);
});

const relabelInput = (paths: readonly string[], selinux?: { process?: string; mount: string }) => ({
  config: create(ContainerConfigSchema, {
    mounts: paths.map((hostPath) => ({ hostPath, containerPath: "/x", selinuxRelabel: true })),
  }),
  mountSources: paths,
  volumes: [{ path: "/data", source: "/volumes/0" }],
  sandboxFiles: { hosts: "/pod/hosts", shm: "/pod/shm" },
  selinux,
});

test("relabelPaths() names the mounts that the request relabels, volumes and the pod's files", () => {
  const input = relabelInput(["/a", "/b", "/image"], pod);
  const [, second, third] = input.config.mounts;
  assert.ok(second !== undefined && third !== undefined);
  second.selinuxRelabel = false;
  third.image = create(ContainerConfigSchema, { image: { image: "i" } }).image;
  // /dev/shm is mounted with its label.
  assert.deepEqual(relabelPaths(input), ["/a", "/volumes/0", "/pod/hosts"]);
  assert.deepEqual(relabelPaths(relabelInput(["/a"], { mount: pod.mount })), [
    "/a",
    "/volumes/0",
    "/pod/hosts",
  ]);
});

test("relabelPaths() leaves a mount of spc_t alone, and all where nothing is labelled", () => {
  const spc = { process: "system_u:system_r:spc_t:s0:c1,c2", mount: pod.mount };
  assert.deepEqual(relabelPaths(relabelInput(["/a", "/etc"], spc)), ["/volumes/0", "/pod/hosts"]);
  assert.deepEqual(relabelPaths(relabelInput(["/a", "/etc"])), []);
});

test("relabelPaths() refuses directories of the node", () => {
  for (const path of ["/", "/etc", "/usr", "/var/lib", "/home"]) {
    assert.throws(
      () => relabelPaths(relabelInput([path], pod)),
      (error) => isInvalid(error) && String(error).includes(`"${path}"`),
    );
  }
  assert.deepEqual(relabelPaths(relabelInput(["/etc/my"], pod))[0], "/etc/my");
});

test("relabelPaths() names the sources that plugins relabel, and refuses the same directories", () => {
  const ofPlugin = (source: string) => {
    const adjustment = create(ContainerAdjustmentSchema, {
      mounts: [
        { destination: "/x", source, options: ["relabel"] },
        { destination: "/y", source: "/other" },
        { destination: "-/z", source: "/gone", options: ["relabel"] },
      ],
    });
    return relabelPaths({ ...relabelInput([], pod), adjust: { adjustment } });
  };
  assert.deepEqual(ofPlugin("/srv//data/"), ["/srv/data", "/volumes/0", "/pod/hosts"]);
  assert.throws(() => ofPlugin("/etc/"), isInvalid);
});
