import { type FieldCases, lastOf, plain, v2 } from "./field-case.ts";

/** Fields of a container that are not among those of Linux. */
export const containerCases: FieldCases = {
  annotations: [
    {
      adjust: { annotations: { a: "1", "-io.kubernetes.cri.image-name": "" } },
      look: ({ annotations }) => [annotations["a"], annotations["io.kubernetes.cri.image-name"]],
      want: ["1", undefined],
    },
  ],
  mounts: [
    {
      adjust: {
        mounts: [
          { destination: "/a/b", type: "tmpfs", source: "tmpfs", options: ["size=1m"] },
          { destination: "/etc/hosts", source: "/srv/hosts", options: ["ro", "relabel", "rslave"] },
          { destination: "-/dev/mqueue" },
          { destination: "/a", type: "bind", source: "/srv", options: ["bind"] },
        ],
      },
      look: ({ mounts, linux: { rootfsPropagation } }) => [
        mounts.filter(({ destination }) => /^\/(a|etc\/hosts|dev\/mqueue)/.test(destination)),
        rootfsPropagation,
      ],
      want: [
        [
          { destination: "/a", type: "bind", source: "/srv", options: ["bind"] },
          { destination: "/a/b", type: "tmpfs", source: "tmpfs", options: ["size=1m"] },
          {
            destination: "/etc/hosts",
            type: "bind",
            source: "/srv/hosts",
            options: ["rbind", "ro", "rslave"],
          },
        ],
        "rslave",
      ],
    },
    {
      adjust: { mounts: [{ destination: "/a", source: "/srv", options: ["rshared"] }] },
      spec: { ...plain, linux: { ...plain.linux, rootfsPropagation: "rslave" } },
      look: (spec) => spec.linux.rootfsPropagation,
      want: "rshared",
    },
    {
      adjust: { mounts: [{ destination: "/a", source: "/srv", options: ["rro"] }] },
      refusedBy: v2,
      message: /mounts\["\/a"\]\.options: .* rro/,
    },
  ],
  env: [
    {
      adjust: {
        env: [
          { key: "-HOSTNAME", value: "" },
          { key: "PATH", value: "/bin" },
          { key: "A", value: "b=c" },
        ],
      },
      look: ({ process }) => process.env,
      want: ["PATH=/bin", "A=b=c"],
    },
  ],
  hooks: [
    {
      adjust: {
        hooks: {
          createRuntime: [{ path: "/h", args: ["h"], env: ["A=1"], timeout: { value: 3n } }],
          poststop: [{ path: "/p" }],
        },
      },
      spec: { ...plain, hooks: { poststop: [{ path: "/first" }] } },
      look: ({ hooks }) => hooks,
      want: {
        createRuntime: [{ path: "/h", args: ["h"], env: ["A=1"], timeout: 3 }],
        poststop: [{ path: "/first" }, { path: "/p" }],
      },
    },
  ],
  rlimits: [
    {
      adjust: {
        rlimits: [
          { type: "RLIMIT_CORE", soft: 1n, hard: 2n },
          { type: "RLIMIT_NOFILE", soft: 3n, hard: 4n },
        ],
      },
      spec: {
        ...plain,
        process: { ...plain.process, rlimits: [{ type: "RLIMIT_CORE", soft: 9n, hard: 9n }] },
      },
      look: ({ process }) => process.rlimits,
      want: [
        { type: "RLIMIT_CORE", hard: 2n, soft: 1n },
        { type: "RLIMIT_NOFILE", hard: 4n, soft: 3n },
      ],
    },
  ],
  CDI_devices: [
    {
      adjust: { CDIDevices: [{ name: "example.org/gpu=0" }], env: [{ key: "GPU", value: "mine" }] },
      facts: {
        ...v2,
        cdi: {
          env: ["GPU=0"],
          deviceNodes: [],
          netDevices: [],
          mounts: [],
          hooks: [],
          additionalGids: [],
        },
      },
      look: ({ process }) => lastOf(process.env),
      want: "GPU=0",
    },
  ],
  args: [{ adjust: { args: ["a", ""] }, look: ({ process }) => process.args, want: ["a", ""] }],
};
