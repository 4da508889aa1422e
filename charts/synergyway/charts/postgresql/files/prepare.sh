# Runs before the server. Gives the role the Secret's password, since the image sets it only when it makes a new database.
set -eu
[ -s "$PGDATA/PG_VERSION" ] || exit 0

ours=$(postgres --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
theirs=$(cat "$PGDATA/PG_VERSION")
if [ "$ours" != "$theirs" ]; then
  echo "The volume holds data of PostgreSQL $theirs, and this image is PostgreSQL $ours: install $theirs, dump, and restore into a new volume." >&2
  exit 1
fi

# Without a server there is nobody to log in to, so no old password is needed.
quoted=$(printf %s "$POSTGRES_PASSWORD" | sed "s/'/''/g")
statement="ALTER ROLE \"$POSTGRES_USER\" PASSWORD '$quoted'"
said=$(printf '%s\n' "$statement" | postgres --single -D "$PGDATA" postgres 2>&1) || said="ERROR: $said"
case $said in
  *'ERROR:  role '*' does not exist'*)
    echo "The volume's database has no role $POSTGRES_USER: auth.username counts only for a new volume, so set it back." >&2
    exit 1
    ;;
  *ERROR:* | *FATAL:*)
    # Without the statement, which holds the password.
    printf '%s\n' "$said" | grep -v PASSWORD >&2
    exit 1
    ;;
esac
