/*
 * Runs a command with variables that have arbitrary bytes. An OCI runtime reads the variables of a container
 * from JSON, which has only Unicode. So such a value is passed in hexadecimal digits, and this program
 * runs in the container before the command. It becomes the command: same
 * process, same descriptors.
 *
 * Arguments: the number of variables; their names; the command and its arguments. For exit codes see
 * envProgramPath() in src/linux/process/programs.ts.
 */
#include "bare.h"

#include <linux/errno.h>
#include <linux/limits.h>

enum { NOT_RUN = 126, NOT_FOUND = 127 };

static long length_of(const char *text) {
  long length = 0;
  while (text[length] != 0) length++;
  return length;
}

static void say(const char *text) { call4(__NR_write, 2, (long)text, length_of(text), 0); }

/* The text after "name=" in the environment, or NULL. */
static char *value_of(char **environment, const char *name) {
  for (; *environment != 0; environment++) {
    char *line = *environment;
    long i = 0;
    while (name[i] != 0 && line[i] == name[i]) i++;
    if (name[i] == 0 && line[i] == '=') return line + i + 1;
  }
  return 0;
}

static int digit(char c) { return c >= 'a' ? c - 'a' + 10 : c - '0'; }

/* In place: bytes need half of the space of their digits. */
static void decode(char *value) {
  char *to = value;
  for (const char *from = value; from[0] != 0 && from[1] != 0; from += 2) {
    *to++ = (char)(digit(from[0]) * 16 + digit(from[1]));
  }
  *to = 0;
}

static long run(const char *path, char **arguments, char **environment) {
  return call4(__NR_execve, (long)path, (long)arguments, (long)environment, 0);
}

/* Finds a command like execvp(3), but never runs a file that is not a program in a shell. */
static long run_on_path(const char *name, char **arguments, char **environment) {
  char path[PATH_MAX];
  long failure = -ENOENT;
  const char *directory = value_of(environment, "PATH");
  while (directory != 0) {
    long length = 0, i = 0;
    while (directory[length] != 0 && directory[length] != ':') length++;
    if (length + length_of(name) + 3 <= PATH_MAX) {
      for (; i < length; i++) path[i] = directory[i];
      if (length == 0) path[i++] = '.';
      path[i++] = '/';
      for (long j = 0; j == 0 || name[j - 1] != 0; j++) path[i++] = name[j];
      long error = run(path, arguments, environment);
      if (error == -EACCES) failure = error;
      else if (error != -ENOENT && error != -ENOTDIR) return error;
    }
    directory = directory[length] == 0 ? 0 : directory + length + 1;
  }
  return failure;
}

static void program_main(const long *stack) {
  long count = stack[0];
  char **arguments = (char **)(stack + 1);
  char **environment = arguments + count + 1;
  long names = 0;
  if (count < 3) end(NOT_RUN);
  for (const char *digits = arguments[1]; *digits != 0 && names >= 0 && names < count; digits++) {
    names = names * 10 + digit(*digits);
  }
  if (names < 0 || names > count - 3) end(NOT_RUN);
  for (long i = 0; i < names; i++) {
    char *value = value_of(environment, arguments[2 + i]);
    if (value != 0) decode(value);
  }
  char **command = arguments + 2 + names;
  long i = 0;
  while (command[0][i] != 0 && command[0][i] != '/') i++;
  long error = command[0][i] == '/' ? run(command[0], command, environment)
                                    : run_on_path(command[0], command, environment);
  say("davit: run \"");
  say(command[0]);
  say(error == -ENOENT    ? "\": no such file or directory\n"
      : error == -EACCES  ? "\": permission denied\n"
      : error == -ENOEXEC ? "\": exec format error\n"
                          : "\": it cannot be run\n");
  end(error == -ENOENT ? NOT_FOUND : NOT_RUN);
}
