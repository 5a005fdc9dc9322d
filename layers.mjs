// The dependency direction of src/, lowest layer first: what the layer check goes by
// (.dependency-cruiser.mjs). ARCHITECTURE.md has the same as a table.
export const layers = {
  base: [],
  gen: [],
  linux: ["base"],
  unpack: ["base", "linux"],
  wire: ["base", "gen"],
  config: ["base"],
  core: ["base", "gen"],
  spec: ["base", "gen", "core"],
  engine: ["base", "core", "spec"],
  drivers: ["base", "gen", "linux", "wire", "core", "spec"],
  cri: ["base", "gen", "wire", "core", "engine"],
  client: ["base", "gen", "wire"],
  daemon: ["base", "gen", "linux", "wire", "config", "core", "spec", "engine", "drivers", "cri"],
  cli: ["base", "gen", "linux", "unpack", "config", "client", "daemon"],
};
