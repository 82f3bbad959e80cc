// Follows Airflow's colour mode: Airflow keeps it in the local storage of this origin, and tells of a change by it.
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => {
    const chosen = localStorage.getItem("theme");
    const mode = chosen === "light" || chosen === "dark" ? chosen : dark.matches ? "dark" : "light";
    document.documentElement.dataset.theme = mode;
  };
  addEventListener("storage", follow);
  dark.addEventListener("change", follow);
  follow();
})();
