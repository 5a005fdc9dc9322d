// The direction of imports in src/: the table of layers.mjs, and the rules it cannot say.
import { layers } from "./layers.mjs";

const test = "(\\.test\\.ts$|/testing/|^test/|^bench/)";
const io =
  "^(node:)?(fs|fs/promises|child_process|net|tls|http|https|http2|dgram|dns|dns/promises|worker_threads|cluster|sqlite|readline|readline/promises)$";

const rule = (name, comment, from, to) => ({ name, severity: "error", comment, from, to });

const layerRule = ([layer, below]) => {
  const allowed = [layer, ...below];
  return rule(
    `layer-${layer}`,
    `src/${layer} may import only ${allowed.join(", ")}`,
    { path: `^src/${layer}/`, pathNot: test },
    { path: "^src/", pathNot: `^src/(${allowed.join("|")})/` },
  );
};

export default {
  forbidden: [
    ...Object.entries(layers).map(layerRule),
    rule(
      "layer-unknown",
      "every file of src lies in a directory that layers.mjs names",
      { path: "^src/", pathNot: `^src/(${Object.keys(layers).join("|")})/` },
      {},
    ),
    rule("no-circular", "two modules that need each other are one module", {}, { circular: true }),
    rule(
      "sibling-drivers",
      "a driver never knows another driver",
      { path: "^src/drivers/([^/]+)/" },
      { path: "^src/drivers/", pathNot: "^src/drivers/$1/" },
    ),
    rule(
      "rpc-files-are-thin",
      "image RPCs and runtime RPCs meet only in core",
      { path: "^src/cri/(runtime|image)/", pathNot: test },
      { path: "^src/cri/(runtime|image)/", pathNot: "^src/cri/$1/" },
    ),
    rule(
      "pure-directories",
      "no I/O here: take an interface from core",
      { path: "^src/(base|core|engine|cri|manifest)/", pathNot: test },
      { dependencyTypes: ["core"], path: io },
    ),
    rule(
      "browser-code",
      "src/page runs in a browser",
      { path: "^src/page/", pathNot: test },
      { dependencyTypes: ["core"] },
    ),
    rule(
      "spawn-in-linux",
      "only src/linux starts processes, and the SDK, which has no addon, its server and mount(8)",
      { path: "^src/", pathNot: `^src/linux/|^src/sdk/(start|tmpfs)\\.ts$|${test}` },
      { path: "^(node:)?(child_process|cluster)$" },
    ),
    rule("no-test-code", "product code never imports test code", { pathNot: test }, { path: test }),
    rule(
      "front-doors",
      "from outside, import the index.ts of doctor, manifest, core/<noun>, drivers/<name> or linux/<room>, and page/view.ts",
      { path: "^src/([^/]+)/", pathNot: test },
      {
        path: "^src/((core|drivers|linux)/([^/]+/(?!index\\.ts$)|[^/]+\\.ts$)|(doctor|manifest)/(?!index\\.ts$)|page/(?!view\\.ts$))",
        pathNot: "^src/$1/",
      },
    ),
    rule(
      "unresolved",
      "an import that leads nowhere is an import no rule can judge",
      { path: "^src/" },
      { couldNotResolve: true },
    ),
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    doNotFollow: { path: "node_modules" },
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "types"] },
  },
};
