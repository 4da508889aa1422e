# Brings the database to this image's schema, once it answers. Leaves one that is ahead as it is: that is a rollback, and
# nothing is taken back from a database that newer pods may still use.
trap 'exit 143' TERM  # a shell that is PID 1 ignores what it does not trap
until answer=$(alembic current 2>&1); do
  case $answer in
    *"Can't locate revision"*)
      echo "The database has a newer schema than this image knows: left as it is."
      exit 0
      ;;
    *" is wrong: "*)
      echo "$answer" >&2
      exit 1
      ;;
  esac
  echo "Waiting for the database: $(printf '%s\n' "$answer" | grep -E 'Error|FAILED' | tail -n 1)"
  sleep 2
done
exec alembic upgrade head
