import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { wrap } from "../../base/errors.ts";

/** The page, as scripts/build-page.ts writes it to dist/ui.json. */
export interface PageFile {
  readonly html: string;
  /** The hashes of its inline script and style, as in a Content-Security-Policy. */
  readonly script: string;
  readonly style: string;
}

/** Reads the page that the build has made. */
export async function readPage(): Promise<PageFile> {
  const fromSource = import.meta.url.endsWith("/src/cli/ui/page-file.ts");
  const path = fileURLToPath(
    new URL(fromSource ? "../../../dist/ui.json" : "./ui.json", import.meta.url),
  );
  try {
    return JSON.parse(await readFile(path, "utf8")) as PageFile;
  } catch (cause) {
    throw wrap(`read the page "${path}" (run "npm run build")`, cause);
  }
}
