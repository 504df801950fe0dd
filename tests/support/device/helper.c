/* The privileged programs of the test device, one by name: su, run-as, and the
 * runner of the scripts that stand for Android's services. Installed setuid
 * inside the test device's own root, where every process is a test's.
 *
 * Grammar and messages are those of Magisk's su, AOSP's su and run-as. */
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int has(const char *path) { return access(path, F_OK) == 0; }

static int shell(const char *command) {
    if (command) execl("/system/bin/sh", "sh", "-c", command, (char *)0);
    else execl("/system/bin/sh", "sh", (char *)0);
    perror("sh");
    return 126;
}

static void become(uid_t uid, gid_t gid) {
    if (setgroups(0, 0) || setgid(gid) || setuid(uid)) {
        perror("setuid");
        exit(126);
    }
}

static int su(int argc, char **argv) {
    if (getuid() != 0 && has("/etc/su-denied")) {
        fputs("Permission denied\n", stderr);
        return 13;
    }
    become(0, 0);
    if (has("/etc/su-aosp")) { /* su [UID] [COMMAND...], no -c */
        if (argc > 1 && strcmp(argv[1], "-c") == 0) {
            fputs("su: invalid uid/gid '-c'\n", stderr);
            return 1;
        }
        if (argc > 2) {
            execvp(argv[2], argv + 2);
            perror(argv[2]);
            return 126;
        }
        return shell(0);
    }
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-c") == 0) {
            static char all[1 << 20]; /* everything after it, with spaces */
            all[0] = 0;
            for (int j = i + 1; j < argc; j++) {
                if (j > i + 1) strncat(all, " ", sizeof all - strlen(all) - 1);
                strncat(all, argv[j], sizeof all - strlen(all) - 1);
            }
            return shell(all);
        }
    }
    return shell(0);
}

static int run_as(int argc, char **argv) {
    char line[512], name[256];
    unsigned uid, debuggable;
    if (argc < 2) return 1;
    FILE *list = fopen("/data/system/packages.list", "r");
    int found = 0;
    while (list && fgets(line, sizeof line, list))
        if (sscanf(line, "%255s %u %u", name, &uid, &debuggable) == 3 && strcmp(name, argv[1]) == 0) {
            found = 1;
            break;
        }
    if (!found) {
        fprintf(stderr, "run-as: unknown package: %s\n", argv[1]);
        return 1;
    }
    if (!debuggable) {
        fprintf(stderr, "run-as: package not debuggable: %s\n", argv[1]);
        return 1;
    }
    char dir[300];
    snprintf(dir, sizeof dir, "/data/data/%s", argv[1]);
    gid_t cache = uid + 10000;
    if (setgroups(1, &cache) || setgid(uid) || setuid(uid) || chdir(dir)) {
        perror("run-as");
        return 1;
    }
    if (argc == 2) return shell(0);
    execvp(argv[2], argv + 2);
    perror(argv[2]);
    return 126;
}

/* pm, am, dumpsys, ...: a script of that name, run as the system. */
static int service(const char *name, int argc, char **argv) {
    char script[300], caller[32], **args = calloc((size_t)argc + 3, sizeof *args);
    snprintf(script, sizeof script, "/system/services/%s", name);
    snprintf(caller, sizeof caller, "%u", (unsigned)getuid());
    setenv("CALLER", caller, 1);
    become(0, 0);
    args[0] = "sh";
    args[1] = script;
    for (int i = 1; i < argc; i++) args[i + 1] = argv[i];
    execv("/system/bin/sh", args);
    perror(script);
    return 126;
}

int main(int argc, char **argv) {
    const char *name = strrchr(argv[0], '/');
    name = name ? name + 1 : argv[0];
    if (strcmp(name, "su") == 0) return su(argc, argv);
    if (strcmp(name, "run-as") == 0) return run_as(argc, argv);
    return service(name, argc, argv);
}
