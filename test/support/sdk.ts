import { copyFileSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";

const applets = [
  "cat",
  "chmod",
  "cp",
  "cut",
  "date",
  "dd",
  "dirname",
  "echo",
  "env",
  "false",
  "grep",
  "head",
  "httpd",
  "id",
  "ip",
  "kill",
  "ls",
  "md5sum",
  "mkdir",
  "mv",
  "nc",
  "printf",
  "ps",
  "pwd",
  "rm",
  "sed",
  "seq",
  "sh",
  "sleep",
  "sort",
  "stty",
  "tail",
  "tar",
  "test",
  "touch",
  "tr",
  "true",
  "tty",
  "uniq",
  "wc",
  "wget",
  "yes",
];

/** A directory with a busybox of this machine as the files of an image: what Davit.load() makes an image of. */
export function busyboxRoot(directory: string, links: readonly string[] = applets): string {
  for (const name of ["bin", "dev", "etc", "proc", "sys", "tmp", "root"]) {
    mkdirSync(path.join(directory, name), {
      recursive: true,
      ...(name === "tmp" && { mode: 0o1777 }),
    });
  }
  const source = ["/usr/bin/busybox", "/bin/busybox"].find((file) => existsSync(file));
  if (source === undefined) throw new Error("install busybox-static");
  copyFileSync(source, path.join(directory, "bin/busybox"));
  for (const name of links) symlinkSync("busybox", path.join(directory, "bin", name));
  writeFileSync(path.join(directory, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
  writeFileSync(path.join(directory, "etc/group"), "root:x:0:\n");
  return directory;
}
