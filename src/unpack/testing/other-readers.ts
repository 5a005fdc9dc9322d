import { spawnSync } from "node:child_process";

/**
 * What other programs find in archives, for the fields that all of them report: type, name without a
 * slash at its end, target, owner, permissions, and size and content of files.
 */
export interface OtherFound {
  readonly type: string;
  readonly path: string;
  readonly linkPath: string;
  readonly owner: string;
  readonly size: number;
}

const python = `
import hashlib, json, sys, tarfile
types = {b"0": "file", b"\\0": "file", b"7": "file", b"S": "file", b"1": "link", b"2": "symlink",
         b"3": "char", b"4": "block", b"5": "dir", b"6": "fifo"}
for path in sys.stdin.read().split("\\n"):
    found = []
    try:
        with tarfile.open(path, "r:", encoding="latin1") as tar:
            for each in tar:
                type = types.get(each.type, "?")
                data = tar.extractfile(each).read() if type == "file" else b""
                is_link = type in ("link", "symlink")
                found.append({"type": type, "path": each.name.rstrip("/"),
                    "linkPath": each.linkname if is_link else "",
                    "owner": "%d:%d %o" % (each.uid, each.gid, each.mode & 0o7777),
                    "size": len(data), "content": hashlib.sha256(data).hexdigest()})
    except Exception as error:
        found = str(error)
    print(json.dumps(found))
`;

/** An entry as Python's tarfile reads it, with the digest of its content; a text for an archive that it rejects. */
export type PythonFound = readonly (OtherFound & { readonly content: string })[] | string;

/** Reads archives by Python's tarfile, in one process. `undefined` without Python. */
export function readByPython(files: readonly string[]): readonly PythonFound[] | undefined {
  const { error, status, stdout, stderr } = spawnSync("python3", ["-c", python], {
    input: files.join("\n"),
    encoding: "utf8",
    maxBuffer: 2 ** 26,
  });
  if (error !== undefined) return undefined;
  if (status !== 0) throw new Error(`python3: ${stderr}`);
  return stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as PythonFound);
}

/** What GNU tar lists; `undefined` for an archive that it rejects. */
export function readByGnuTar(bytes: Buffer): readonly OtherFound[] | undefined {
  const args = ["--numeric-owner", "-tv", "--full-time", "--quoting-style=escape", "-f", "-"];
  const { error, status, stdout } = spawnSync("tar", args, {
    input: bytes,
    env: { PATH: process.env["PATH"], TZ: "UTC", LC_ALL: "C" },
    encoding: "latin1",
  });
  if (error !== undefined) throw error;
  return status === 0 ? stdout.split("\n").filter(Boolean).map(parseListed) : undefined;
}

const listedTypes: Readonly<Record<string, string>> = {
  "-": "file",
  h: "link",
  l: "symlink",
  c: "char",
  b: "block",
  d: "dir",
  p: "fifo",
};

function parseListed(line: string): OtherFound {
  const match = /^(.)(\S{9}) (\d+)\/(\d+) +(\S+) \S+ \S+ (.*)$/.exec(line);
  const [, code = "?", bits = "", uid = "", gid = "", size = "", rest = ""] = match ?? [];
  const type = listedTypes[code] ?? "?";
  const between = type === "link" ? " link to " : type === "symlink" ? " -> " : undefined;
  const at = between === undefined ? rest.length : rest.indexOf(between);
  return {
    type,
    path: unescape(rest.slice(0, at)).replace(/\/+$/, ""),
    linkPath: between === undefined ? "" : unescape(rest.slice(at + between.length)),
    owner: `${uid}:${gid} ${permissions(bits)}`,
    size: type === "file" ? Number(size) : 0,
  };
}

function permissions(bits: string): string {
  let mode = 0;
  for (let at = 0; at < 9; at++) {
    const char = bits[at] ?? "-";
    if (/[rwxst]/.test(char)) mode |= 0o400 >> at;
    if (/[sStT]/.test(char)) mode |= 0o4000 >> Math.floor(at / 3);
  }
  return mode.toString(8);
}

function unescape(name: string): string {
  const named: Readonly<Record<string, string>> = {
    n: "\n",
    t: "\t",
    r: "\r",
    "\\": "\\",
    " ": " ",
  };
  return name.replace(/\\([0-7]{3}|.)/g, (_, code: string) =>
    code.length === 3 ? String.fromCharCode(Number.parseInt(code, 8)) : (named[code] ?? code),
  );
}
