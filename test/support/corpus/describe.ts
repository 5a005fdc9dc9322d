/** Every attribute of a file tree, to compare two of them. */
import { execFileSync } from "node:child_process";

/** By path, a line of all attributes of a file. */
export type Described = ReadonlyMap<string, string>;

// Names and values may be any bytes. Times after newer are those of the unpacking, which no archive has.
const program = `
import hashlib, json, os, stat, sys
root, newer = os.fsencode(sys.argv[1]), int(sys.argv[2])
found, links = {}, {}
def describe(path):
    info = os.lstat(path)
    kind = stat.S_IFMT(info.st_mode)
    facts = {"type": oct(kind), "mode": oct(info.st_mode & 0o7777), "owner": [info.st_uid, info.st_gid]}
    facts["time"] = "new" if info.st_mtime_ns > newer * 10**9 else str(info.st_mtime_ns)
    facts["xattrs"] = {os.fsencode(name).decode("latin1"): os.getxattr(path, name, follow_symlinks=False).hex()
        for name in sorted(os.listxattr(path, follow_symlinks=False))}
    if kind == stat.S_IFREG:
        with open(path, "rb") as file: facts["content"] = [info.st_size, hashlib.sha256(file.read()).hexdigest()]
    if kind == stat.S_IFLNK: facts["target"] = os.readlink(path).decode("latin1")
    if kind in (stat.S_IFCHR, stat.S_IFBLK): facts["device"] = [os.major(info.st_rdev), os.minor(info.st_rdev)]
    if kind != stat.S_IFDIR: facts["links"] = info.st_nlink
    name = path[len(root):].decode("latin1") or "/"
    if kind != stat.S_IFDIR and info.st_nlink > 1: facts["same as"] = links.setdefault((info.st_dev, info.st_ino), name)
    found[name] = facts
    if kind == stat.S_IFDIR:
        for entry in sorted(os.listdir(path)): describe(path + b"/" + entry)
describe(root)
json.dump(found, sys.stdout)
`;

/** Reads a tree. Modification times after `newer`, in seconds since 1970, count as equal. */
export function describeTree(root: string, newer: number): Described {
  const args = ["-c", program, root, String(Math.floor(newer))];
  const text = execFileSync("/usr/bin/python3", args, { encoding: "utf8", maxBuffer: 2 ** 28 });
  const found = Object.entries(JSON.parse(text) as Record<string, object>);
  return new Map(found.map(([name, facts]) => [name, JSON.stringify(facts)]));
}

/** A line for each file that differs between two trees. */
export function differences(ours: Described, theirs: Described): readonly string[] {
  const names = [...new Set([...ours.keys(), ...theirs.keys()])].sort();
  return names.flatMap((name) => {
    const [here, there] = [ours.get(name) ?? "absent", theirs.get(name) ?? "absent"];
    return here === there ? [] : [`${JSON.stringify(name)}: davit ${here}, containerd ${there}`];
  });
}
