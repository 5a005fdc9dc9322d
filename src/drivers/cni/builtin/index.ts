/**
 * Networks that davit carries out itself instead of their plugins, with the same result. Loaded when a network could be
 * one of them. Start with runner.ts; each plugin is a file.
 */
export { BuiltinRunner, networkObstacle } from "./runner.ts";
