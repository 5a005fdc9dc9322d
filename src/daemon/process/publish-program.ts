import { fileURLToPath } from "node:url";

/** The program with which shims publish events that they cannot send themselves: davit's launcher. */
export function publishProgram(): string {
  const fromSource = import.meta.url.endsWith("/src/daemon/process/publish-program.ts");
  return fileURLToPath(
    new URL(fromSource ? "../../../bin/davit" : "../bin/davit", import.meta.url),
  );
}
