import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { BinaryWriter } from "@bufbuild/protobuf/wire";

import { isKind, messageOf } from "../../../../base/errors.ts";
import type { OciSpec } from "../../../../core/oci/index.ts";
import { readClaims } from "./claims.ts";
import { findExcess } from "./excess.ts";
import { imageEntries, type ImageKind, maxImageBytes, writeImage } from "./image-file.ts";
import { message, type Value } from "./testing/message.ts";

const uid = [1, 3, 5, 7] as const;
const gid = [2, 4, 6, 8] as const;

/** A core image of a thread of user 1000 without capabilities, with no_new_privs and a filter. */
function core(
  change: {
    readonly creds?: readonly (readonly [number, Value])[];
    readonly thread?: readonly (readonly [number, Value])[];
    readonly task?: readonly (readonly [number, Value])[];
  } = {},
): Uint8Array {
  const creds = message(
    ...[...uid, ...gid].map((field) => [field, 1000] as const),
    ...[9, 10, 11, 12]
      .filter((field) => !(change.creds ?? []).some(([changed]) => changed === field))
      .flatMap((field) => [[field, 0] as const, [field, 0] as const]),
    [18, 1],
    ...(change.creds ?? []),
  );
  const thread = message([10, creds], [11, 2], [12, 0], [13, "app"], ...(change.thread ?? []));
  const task = message([1, 1], [6, "app"], ...(change.task ?? []));
  return writeImage("core", [message([3, task], [5, thread])]);
}

/** An image with the entries of several ones. */
const entries = (kind: ImageKind, ...images: readonly Uint8Array[]): Uint8Array =>
  writeImage(
    kind,
    images.flatMap((image) => imageEntries(kind, image)),
  );

const unfiltered = core({ thread: [[11, 0]] });
/** The tree of these processes: the ids of their threads, the first one first. */
const tree = (...processes: readonly (readonly number[])[]): [string, Uint8Array] => [
  "pstree.img",
  writeImage(
    "processes",
    processes.map((threads) =>
      message([1, threads[0] ?? 0], ...threads.map((id) => [5, id] as const)),
    ),
  ),
];
/** One seccomp filter with these flags. */
const filters = (flags = 0): [string, Uint8Array] => [
  "seccomp.img",
  writeImage("seccomp", [message([1, message([1, new Uint8Array(8)], [3, flags])])]),
];

const ids = (...fields: readonly (readonly [number, Value])[]): Uint8Array =>
  writeImage("ids", [message([5, 21], [6, 22], [7, 23], [8, 24], [9, 25], [10, 26], ...fields)]);
const inventory = writeImage("inventory", [
  message([1, 2], [3, message([5, 1], [6, 2], [7, 3], [8, 4], [9, 5], [10, 26])]),
]);

function mount(at: string, fileSystem: number, flags = 0, external?: string): Uint8Array {
  return message(
    [1, fileSystem],
    [5, flags],
    [6, "/"],
    [7, at],
    ...(external === undefined ? [] : [[18, external] as const]),
  );
}

const root = mount("/", 17);
const proc = mount("/proc", 1, 14);
const guard = mount("/proc/sys", 1, 15);
const masked = mount("/proc/kcore", 5, 1, "/proc/kcore");
const data = mount("/data", 5, 1, "/data");
const mounts = (...entries: readonly Uint8Array[]): Uint8Array => writeImage("mounts", entries);
const plain = mounts(root, proc, guard, masked, data);

const spec: OciSpec = {
  ociVersion: "1.0.2",
  root: { path: "/r", readonly: false },
  process: {
    user: { uid: 1000, gid: 1000 },
    args: ["app"],
    env: [],
    cwd: "/",
    noNewPrivileges: true,
    capabilities: {
      bounding: ["CAP_KILL"],
      effective: [],
      inheritable: [],
      permitted: [],
      ambient: [],
    },
  },
  mounts: [
    { destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"] },
    { destination: "/data", type: "bind", source: "/x", options: ["rbind", "ro"] },
  ],
  annotations: {},
  linux: {
    namespaces: ["pid", "ipc", "uts", "mount", "network"].map((type) => ({ type })),
    cgroupsPath: "/c",
    resources: {},
    maskedPaths: ["/proc/kcore", "/proc/absent"],
    readonlyPaths: ["/proc/sys"],
    seccomp: { defaultAction: "SCMP_ACT_ERRNO" },
  },
} as unknown as OciSpec;

interface Images {
  readonly core?: Uint8Array;
  readonly ids?: Uint8Array;
  readonly mounts?: Uint8Array;
  readonly more?: readonly (readonly [string, Uint8Array])[];
}

function excess(images: Images, changed: Partial<OciSpec> = {}): string | undefined {
  const files = new Map([
    ["core-1.img", images.core ?? core()],
    ["ids-1.img", images.ids ?? ids()],
    ["mountpoints-3.img", images.mounts ?? plain],
    ["inventory.img", inventory],
    ...(images.more ?? []),
  ]);
  const existing = new Set(["/proc/kcore", "/proc/sys"]);
  return findExcess(readClaims(files), { ...spec, ...changed }, { existing, links: new Map() });
}

describe("findExcess()", () => {
  test("finds nothing in the images of a container with the same spec", () => {
    assert.equal(excess({}), undefined);
  });

  test("takes the filter of the first thread for all where the kernel gives it to them", () => {
    const more = [["core-2.img", unfiltered], tree([1, 2]), filters(1)] as const;
    assert.equal(excess({ more }), undefined);
  });

  const capabilities = (field: number): Uint8Array =>
    core({
      creds: [
        [field, 1 << 21],
        [field, 0],
      ],
    });
  const without = (change: Partial<OciSpec["process"]>): Partial<OciSpec> => ({
    process: { ...spec.process, ...change },
  });
  const cases: readonly (readonly [string, Images, RegExp, Partial<OciSpec>?])[] = [
    ["root", { core: core({ creds: uid.map((field) => [field, 0] as const) }) }, /uid 0/],
    ["the saved uid of root", { core: core({ creds: [[5, 0]] }) }, /uid 0/],
    ["root by a number that CRIU truncates", { core: core({ creds: [[3, 1n << 32n]] }) }, /uid 0/],
    ["another group", { core: core({ creds: [[14, 0]] }) }, /gid 0/],
    ...[9, 10, 11, 12, 19].map(
      (field) =>
        [`a capability in field ${field}`, { core: capabilities(field) }, /CAP_SYS_ADMIN/] as const,
    ),
    [
      "an unknown capability",
      {
        core: core({
          creds: [
            [10, 0],
            [10, 1 << 30],
          ],
        }),
      },
      /unknown capab/,
    ],
    [
      "packed capabilities",
      { core: core({ creds: [[10, new BinaryWriter().uint32(1 << 21).finish()]] }) },
      /CAP_SYS_ADMIN/,
    ],
    ["privileges on exec", { core: core({ creds: [[18, 0]] }) }, /without no_new_privs/],
    ["no filter", { core: core({ thread: [[11, 0]] }) }, /without a seccomp filter/],
    ["a process that has none", { core: core({ task: [[11, 0]] }) }, /without a seccomp filter/],
    [
      "a thread that has none where its process has one",
      { core: core({ thread: [[11, 0]], task: [[11, 2]] }) },
      /without a seccomp filter/,
    ],
    [
      "a thread without the filter of its process",
      { more: [["core-2.img", unfiltered], tree([1, 2]), filters()] },
      /without a seccomp filter/,
    ],
    [
      "a thread of a process without a filter",
      { core: unfiltered, more: [["core-2.img", unfiltered], tree([1, 2]), filters(1)] },
      /without a seccomp filter/,
    ],
    [
      "a thread of no process",
      { more: [["core-2.img", unfiltered], tree([1]), filters(1)] },
      /without a seccomp filter/,
    ],
    [
      "a thread that another process claims",
      { more: [["core-2.img", unfiltered], tree([1, 2], [2]), filters(1)] },
      /without a seccomp filter/,
    ],
    [
      "a process whose filter another image of its id claims",
      {
        core: core({ thread: [[12, 1]] }),
        more: [["core-01.img", core()], ["core-2.img", unfiltered], tree([1, 2]), filters(1)],
      },
      /without a seccomp filter/,
    ],
    [
      "a filter that only a second entry has",
      {
        core: entries("core", core({ thread: [[12, 1]] }), core()),
        more: [["core-2.img", unfiltered], tree([1, 2]), filters(1)],
      },
      /without a seccomp filter/,
    ],
    [
      "root, beside another image of the id",
      { core: core({ creds: [[1, 0]] }), more: [["core-01.img", core()]] },
      /uid 0/,
    ],
    ["strict mode for a filter", { core: core({ thread: [[11, 1]] }) }, /without a seccomp filter/],
    [
      "another profile",
      {},
      /profile "" instead of "strict"/,
      without({ apparmorProfile: "strict" }),
    ],
    ["a second thread of root", { more: [["core-2.img", core({ creds: [[1, 0]] })]] }, /uid 0/],
    ["the node's files", { ids: ids([9, 5]) }, /mount namespace of the node/],
    [
      "the node's files, by an absent number",
      {
        ids: writeImage("ids", [message([5, 21])]),
        more: [["inventory.img", writeImage("inventory", [message([3, message([5, 1])])])]],
      },
      /namespace of the node/,
    ],
    [
      "the node's files, by a number that CRIU truncates",
      { ids: ids([9, (1n << 32n) + 5n]) },
      /mount namespace of the node/,
    ],
    [
      "the node's processes, of a second process",
      { more: [["ids-2.img", ids([5, 1])]] },
      /pid namespace of the node/,
    ],
    ["the node's network", { ids: ids([6, 2]) }, /network namespace of the node/],
    [
      "a user namespace",
      { more: [["userns-9.img", writeImage("users", [message()])]] },
      /does not have/,
    ],
    [
      "a writable volume",
      { mounts: mounts(root, proc, guard, masked, mount("/data", 5, 0, "/data")) },
      /"\/data" without the option "ro"/,
    ],
    [
      "another volume",
      { mounts: mounts(root, proc, guard, masked, mount("/etc", 5, 1, "/etc")) },
      /"\/etc", which the request does not have/,
    ],
    [
      "a volume that CRIU finds",
      { mounts: mounts(root, proc, guard, masked, mount("/etc", 5, 1, "CRIU:AUTOGENERATED")) },
      /does not have/,
    ],
    [
      "the node's devices",
      { mounts: mounts(root, proc, guard, masked, mount("/dev", 3)) },
      /"\/dev" of a file system/,
    ],
    [
      "a disk",
      { mounts: mounts(root, proc, guard, masked, mount("/mnt", 16)) },
      /"\/mnt" of a file system/,
    ],
    [
      "another proc",
      { mounts: mounts(root, proc, guard, masked, mount("/p", 1)) },
      /"\/p" of type proc/,
    ],
    [
      "proc with devices",
      { mounts: mounts(root, mount("/proc", 1, 2), guard, masked) },
      /"\/proc" without the option "nodev"/,
    ],
    [
      "a path that leads out",
      { mounts: mounts(root, proc, guard, masked, mount("/proc/../sys", 2)) },
      /does not have there/,
    ],
    ["nothing on a masked path", { mounts: mounts(root, proc, guard) }, /protects "\/proc\/kcore"/],
    [
      "a writable protected path",
      { mounts: mounts(root, proc, mount("/proc/sys", 1, 14), masked) },
      /not read-only/,
    ],
    ["a writable root", {}, /root that is not read-only/, { root: { path: "/r", readonly: true } }],
  ];
  for (const [name, images, expected, changed] of cases) {
    test(`finds ${name}`, () => {
      assert.match(excess(images, changed) ?? "nothing", expected);
    });
  }

  test("compares the ids of a user namespace", () => {
    const range = { containerID: 0, hostID: 100_000, size: 65_536 };
    const linux = {
      ...spec.linux,
      namespaces: [...spec.linux.namespaces, { type: "user" }],
      uidMappings: [range],
      gidMappings: [range],
    } as unknown as OciSpec["linux"];
    const map = (first: number): Uint8Array => message([1, 0], [2, first], [3, 65_536]);
    const users = (first: number): Images => ({
      ids: ids([10, 30]),
      more: [["userns-9.img", writeImage("users", [message([1, map(first)], [2, map(first)])])]],
    });
    assert.equal(excess(users(100_000), { linux }), undefined);
    assert.match(excess(users(0), { linux }) ?? "", /other ids of the node/);
    assert.match(excess({ ids: ids([10, 30]) }, { linux }) ?? "", /outside of a user namespace/);
    assert.match(excess({}, { linux }) ?? "", /user namespace of the node/);
  });
});

describe("readClaims()", () => {
  const read = (images: Images): unknown => excess(images);
  const cases: readonly (readonly [string, Images])[] = [
    ["no thread with credentials", { core: writeImage("core", [message([5, message([11, 2])])]) }],
    ["no process", { core: writeImage("core", []) }],
    ["credentials that are cut off", { core: core().subarray(0, 60) }],
    [
      "a message that is not protobuf",
      { core: writeImage("core", [Uint8Array.of(0xff, 0xff, 0xff)]) },
    ],
    [
      "two inventories",
      { more: [["inventory.img", writeImage("inventory", [message(), message()])]] },
    ],
    ["an image of another kind", { core: writeImage("ids", [message([5, 1])]) }],
    [
      "a length beyond the end",
      { core: Buffer.concat([core(), Buffer.from([255, 255, 255, 255])]) },
    ],
    ["a huge image", { core: Buffer.concat([core(), Buffer.alloc(maxImageBytes)]) }],
    ["too many entries", { mounts: Buffer.concat([plain, Buffer.alloc(4 * 70_000)]) }],
  ];
  for (const [name, images] of cases) {
    test(`refuses ${name}`, () => {
      assert.throws(
        () => read(images),
        (error) => isKind(error, "invalid-argument") && /read image of CRIU/.test(messageOf(error)),
      );
    });
  }

  test("reads or refuses every image that is damaged", () => {
    const hostile = core({ creds: [[1, 0]] });
    for (let at = 0; at < hostile.length; at++) {
      for (const bit of [1, 0x80]) {
        const damaged = Uint8Array.from(hostile);
        damaged[at] = (damaged[at] ?? 0) ^ bit;
        try {
          excess({ core: damaged });
        } catch (error) {
          assert.ok(isKind(error, "invalid-argument"), String(error));
        }
      }
    }
  });
});
