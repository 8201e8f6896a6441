/*
 * An NSS module (https://sourceware.org/glibc/manual/latest/html_node/Extending-NSS.html) that supplies the process's
 * own user and group if they have no entry in /etc/passwd and /etc/group.
 *
 * `docker run --user 12345` starts a process whose UID has no passwd entry, and which may not add one. This module is
 * used only by our own libc, as the last source (/openhands/etc/nss).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <nss.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char name[] = "openhands";
static char shell[] = "/openhands/bin/oh-bash";
static char nothing[] = "";
static char locked[] = "*";

static enum nss_status user(struct passwd *entry, char *buffer, size_t size, int *error)
{
    const char *home = secure_getenv("HOME");
    size_t length;

    if (!home || home[0] != '/')
        home = "/";
    length = strlen(home) + 1;
    if (length > size) {
        *error = ERANGE;
        return NSS_STATUS_TRYAGAIN;
    }
    memcpy(buffer, home, length);
    entry->pw_name = name;
    entry->pw_passwd = locked;
    entry->pw_uid = getuid();
    entry->pw_gid = getgid();
    entry->pw_gecos = nothing;
    entry->pw_dir = buffer;
    entry->pw_shell = shell;
    return NSS_STATUS_SUCCESS;
}

static enum nss_status group(struct group *entry, char *buffer, size_t size, int *error)
{
    size_t skip = -(size_t)buffer % sizeof(char *);

    if (size < skip + sizeof(char *)) {
        *error = ERANGE;
        return NSS_STATUS_TRYAGAIN;
    }
    entry->gr_name = name;
    entry->gr_passwd = locked;
    entry->gr_gid = getgid();
    entry->gr_mem = (char **)(buffer + skip);
    entry->gr_mem[0] = NULL;
    return NSS_STATUS_SUCCESS;
}

enum nss_status _nss_openhands_getpwuid_r(uid_t uid, struct passwd *entry, char *buffer, size_t size, int *error)
{
    return uid == getuid() ? user(entry, buffer, size, error) : NSS_STATUS_NOTFOUND;
}

enum nss_status _nss_openhands_getpwnam_r(const char *wanted, struct passwd *entry, char *buffer, size_t size, int *error)
{
    return strcmp(wanted, name) == 0 ? user(entry, buffer, size, error) : NSS_STATUS_NOTFOUND;
}

enum nss_status _nss_openhands_getgrgid_r(gid_t gid, struct group *entry, char *buffer, size_t size, int *error)
{
    return gid == getgid() ? group(entry, buffer, size, error) : NSS_STATUS_NOTFOUND;
}
