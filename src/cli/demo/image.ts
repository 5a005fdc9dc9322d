import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";

/** An image in a registry: a manifest, and blobs by digest. */
export interface DemoImage {
  readonly manifest: Buffer;
  readonly blobs: ReadonlyMap<string, Buffer>;
}

/** Commands of the image besides `busybox`, which are links to it. */
const applets = [
  "sh",
  "cat",
  "echo",
  "hostname",
  "httpd",
  "id",
  "ip",
  "ls",
  "mkdir",
  "ps",
  "sleep",
  "tee",
  "wget",
];

const blockBytes = 512;

/**
 * An image with one layer: a static busybox, and the directories that programs expect. It is made
 * from the program of this machine, so that the demo does not need the Internet.
 */
export function busyboxImage(busybox: Buffer, architecture: string): DemoImage {
  const directories = [
    "bin",
    "dev",
    "etc",
    "home",
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
    "usr",
    "var",
  ];
  const tar = Buffer.concat([
    ...directories.map((name) =>
      tarEntry(`${name}/`, { type: "5", mode: name === "tmp" ? 0o1777 : 0o755 }),
    ),
    tarEntry("bin/busybox", { type: "0", mode: 0o755, data: busybox }),
    ...applets.map((name) => tarEntry(`bin/${name}`, { type: "2", mode: 0o777, link: "busybox" })),
    tarEntry("etc/passwd", {
      type: "0",
      mode: 0o644,
      data: Buffer.from("root:x:0:0:root:/root:/bin/sh\n"),
    }),
    tarEntry("etc/group", { type: "0", mode: 0o644, data: Buffer.from("root:x:0:\n") }),
    Buffer.alloc(2 * blockBytes),
  ]);
  const layer = gzipSync(tar, { level: 1 });
  const config = Buffer.from(
    JSON.stringify({
      architecture,
      os: "linux",
      config: { Env: ["PATH=/usr/local/bin:/usr/bin:/bin"], Cmd: ["sh"] },
      rootfs: { type: "layers", diff_ids: [digestOf(tar)] },
    }),
  );
  const descriptor = (mediaType: string, blob: Buffer): Readonly<Record<string, unknown>> => ({
    mediaType: `application/vnd.oci.image.${mediaType}`,
    digest: digestOf(blob),
    size: blob.length,
  });
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: descriptor("config.v1+json", config),
      layers: [descriptor("layer.v1.tar+gzip", layer)],
    }),
  );
  return { manifest, blobs: new Map([config, layer].map((blob) => [digestOf(blob), blob])) };
}

/** The digest of a blob in the notation of OCI. */
export function digestOf(blob: Buffer): string {
  return `sha256:${createHash("sha256").update(blob).digest("hex")}`;
}

/** One entry of a ustar archive (POSIX.1-1988, pax(1)), owned by root, padded to whole blocks. */
function tarEntry(
  name: string,
  entry: {
    readonly type: "0" | "2" | "5";
    readonly mode: number;
    readonly data?: Buffer;
    readonly link?: string;
  },
): Buffer {
  const header = Buffer.alloc(blockBytes);
  const data = entry.data ?? Buffer.alloc(0);
  const octal = (value: number, digits: number): string =>
    `${value.toString(8).padStart(digits, "0")}\0`;
  header.write(name, 0);
  header.write(octal(entry.mode, 7), 100);
  header.write(octal(0, 7), 108);
  header.write(octal(0, 7), 116);
  header.write(octal(data.length, 11), 124);
  header.write(octal(0, 11), 136);
  header.write(" ".repeat(8), 148);
  header.write(entry.type, 156);
  header.write(entry.link ?? "", 157);
  header.write("ustar\0" + "00", 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  const padding = Buffer.alloc((blockBytes - (data.length % blockBytes)) % blockBytes);
  return Buffer.concat([header, data, padding]);
}
