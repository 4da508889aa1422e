# Ends when the database has this image's schema. A database that is ahead will do: in a rollout, or after a rollback, this
# image runs beside a newer one. Says every few seconds why it still waits.
trap 'exit 143' TERM  # a shell that is PID 1 ignores what it does not trap
while true; do
  answer=$(alembic current 2>&1)
  case $answer in
    *"(head)"*)
      exit 0
      ;;
    *"Can't locate revision"*)
      echo "The database has a newer schema than this image knows: nothing to wait for."
      exit 0
      ;;
    *" is wrong: "*)
      echo "$answer" >&2
      exit 1
      ;;
  esac
  reason=$(printf '%s\n' "$answer" | grep -E 'Error|FAILED' | tail -n 1)
  echo "Waiting for the schema: ${reason:-the migration has not run yet}"
  sleep 2
done
