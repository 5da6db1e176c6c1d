// Swagger UI from our own files; no deep links, for the addresses of problems use the fragment.

const root = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");

// Its own class for dark colours, by what the page wears.
function wear() {
  const theme = root.dataset.theme ?? (system.matches ? "dark" : "light");
  root.classList.toggle("dark-mode", theme === "dark");
}

wear();
system.addEventListener("change", wear);
document.addEventListener("themed", wear);

const place = document.getElementById("swagger");
window.SwaggerUIBundle({
  url: place.dataset.schema,
  domNode: place,
  deepLinking: false,
  validatorUrl: null,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  presets: [window.SwaggerUIBundle.presets.apis],
});
