export default function Page() {
  return <p>The training endpoints are below /api/training/local; see README.md.</p>;
}
