/** Writes what follows from the configuration's schema: its reference, and the file of defaults. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { formatDefaultConfig } from "../src/config/format.ts";
import { formatReference } from "../src/config/reference.ts";

const repo = join(import.meta.dirname, "..");
writeFileSync(join(repo, "docs/configuration.md"), formatReference());
writeFileSync(join(repo, "packaging/davit.toml"), formatDefaultConfig());
