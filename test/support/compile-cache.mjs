// Preloaded by the option of compile-cache.ts. It is JavaScript, so that no types have to be stripped first. Where the
// directory cannot be written there is no cache, and no error.
import { enableCompileCache } from "node:module";

enableCompileCache(new URL(import.meta.url).searchParams.get("directory"));
