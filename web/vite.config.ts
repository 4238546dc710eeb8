import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

const SOURCES = [
  "index.html",
  "package.json",
  "package-lock.json",
  "vite.config.ts",
  "svelte.config.js",
  "src",
  "public",
];

/** Every file under a source path, in the order of its name. */
function files(path: string): string[] {
  try {
    return readdirSync(path)
      .sort()
      .flatMap((name) => files(join(path, name)));
  } catch {
    return [path];
  }
}

/** Says in the build which sources it is of: tests/web/test_page_build.py compares. */
function stamp(): Plugin {
  return {
    name: "stamp",
    apply: "build",
    generateBundle() {
      const lines = SOURCES.flatMap(files)
        .sort()
        .map((file) => `${createHash("sha256").update(readFileSync(file)).digest("hex")}  ${file}\n`);
      this.emitFile({
        type: "asset",
        fileName: "sources.sha256",
        source: createHash("sha256").update(lines.join("")).digest("hex") + "\n",
      });
    },
  };
}

export default defineConfig({
  plugins: [svelte(), stamp()],
  base: "./",
  build: {
    outDir: "../src/orchestrion/web/static",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
  },
  server: { proxy: { "/api": "http://127.0.0.1:8765" } },
  test: { include: ["tests/**/*.test.ts"] },
});
