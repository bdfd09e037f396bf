// Serves one page that says who made it, and a health check.
const fs = require("node:fs");
const path = require("node:path");
const express = require("express");
const mustache = require("mustache");

const { name, version } = require("./package.json");
const greeting = require("./greeting");
const page = fs.readFileSync(path.join(__dirname, "views", "page.mustache"), "utf8");

const app = express();
app.disable("x-powered-by");
app.use("/static", express.static(path.join(__dirname, "public")));

app.get("/", (request, response) => {
  response.type("html").send(
    mustache.render(page, {
      name,
      version,
      greeting,
      node: process.version,
    }),
  );
});

app.get("/health", (request, response) => {
  response.json({ status: "ok", name, version });
});

const server = app.listen(Number(process.env.PORT ?? 80), () => {
  console.log(`${name} ${version} listens on port ${server.address().port}`);
});

// As process 1 in a container nobody else turns the stop signal into an exit.
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => server.close(() => process.exit(0)));
}
