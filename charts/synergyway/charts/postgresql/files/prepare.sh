# Runs before the server. Gives the role the Secret's password, since the image sets it only when it makes a new database.
set -eu
[ -s "$PGDATA/PG_VERSION" ] || exit 0

ours=$(postgres --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
theirs=$(cat "$PGDATA/PG_VERSION")
if [ "$ours" != "$theirs" ]; then
  echo "The volume holds data of PostgreSQL $theirs, and this image is PostgreSQL $ours: install $theirs, dump, and restore into a new volume." >&2
  exit 1
fi

# Without a server there is nobody to log in to, so no old password is needed. Called by this shell itself and not in a
# subshell: a killed server leaves a lock of process 1, which PostgreSQL knows to be stale when that is its own parent.
quoted=$(printf %s "$POSTGRES_PASSWORD" | sed "s/'/''/g")
postgres --single -D "$PGDATA" postgres >/tmp/answer 2>&1 <<END || echo "ERROR: PostgreSQL ended" >>/tmp/answer
ALTER ROLE "$POSTGRES_USER" PASSWORD '$quoted'
END

if grep -q 'ERROR:  role .* does not exist' /tmp/answer; then
  echo "The volume's database has no role $POSTGRES_USER: auth.username counts only for a new volume, so set it back." >&2
  exit 1
elif grep -qE 'ERROR:|FATAL:' /tmp/answer; then
  # Without the statement, which holds the password.
  grep -v PASSWORD /tmp/answer >&2
  exit 1
fi
rm /tmp/answer
